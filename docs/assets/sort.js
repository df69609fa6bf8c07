// Tables that can be sorted by their columns. How a table is sorted stands in the address: ?sort=ranking.2.down
(() => {
  "use strict";
  const tables = [...document.querySelectorAll("table.board")];
  const asked = new URLSearchParams(location.search || location.hash.replace(/^#/, "")).get("sort") || "";

  const keyOf = (row, column) => row.cells[column]?.dataset.key;
  function compare(a, b) {
    const x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  }

  // What has no key in this column stays at the end, either way round.
  function sort(table, column, down) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const known = rows.filter((row) => keyOf(row, column) != null);
    const rest = rows.filter((row) => keyOf(row, column) == null);
    known.sort((a, b) => (down ? -1 : 1) * compare(keyOf(a, column), keyOf(b, column)));
    body.append(...known, ...rest);
    [...table.tHead.rows[0].cells].forEach((cell, n) => {
      if (n === column) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
  }

  function remember(table, column, down) {
    const said = new URLSearchParams(location.search);
    said.set("sort", [table.id, column, down ? "down" : "up"].join("."));
    try {
      history.replaceState(null, "", location.pathname + "?" + said + location.hash);
    } catch {} // a page opened from a file may not write its address everywhere
  }

  for (const table of tables) {
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      if (!("sort" in cell.dataset)) return;
      const button = cell.querySelector("button");
      button.disabled = false;
      button.addEventListener("click", () => {
        // The first click puts numbers and dates with the largest first, unless the column was sorted so already.
        const before = cell.getAttribute("aria-sort");
        const sample = [...table.tBodies[0].rows].map((row) => keyOf(row, column)).find((key) => key != null);
        const down = before ? before === "ascending" : !Number.isNaN(Number(sample));
        sort(table, column, down);
        remember(table, column, down);
      });
    });
    const [name, column, way] = asked.split(".");
    if (name === table.id && table.tHead.rows[0].cells[column]?.dataset.sort != null) sort(table, Number(column), way === "down");
  }
})();
