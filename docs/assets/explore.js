// The explorer: turns the page's list of facets into filters over all entries. State lives in the address.
//
// It waits for a turn of its own: once the last script of a page has run, the page is laid out before anything else.
setTimeout(() => {
  "use strict";
  const root = document.getElementById("explorer");
  const { make, address, data, load, words, search, selection } = window.Catalog;
  if (!root || !window.catalogIndex) return;
  const { entries, facets } = data();
  const STEP = 60, FIRST = 20; // rows that are added at once, and before the page can be used

  // ---- state and address -------------------------------------------------------------------------------------------
  const state = { q: "", sort: "", chosen: Object.fromEntries(facets.map((f) => [f.code, new Set()])) };
  const SORTS = { "": "relevance", name: "name", year: "newest", rung: "most verified", kind: "kind" };

  function readAddress() {
    // From a file some browsers let a page change only what follows the #.
    const said = new URLSearchParams(location.search || location.hash.replace(/^#/, ""));
    state.q = said.get("q") || "";
    state.sort = said.get("sort") in SORTS ? said.get("sort") : "";
    for (const facet of facets) {
      const codes = (said.get(facet.code) || "").split(",");
      state.chosen[facet.code] = new Set(facet.values.flatMap((value, n) => (codes.includes(value.code) ? [n] : [])));
    }
  }

  function writeAddress() {
    const said = new URLSearchParams();
    if (state.q) said.set("q", state.q);
    for (const facet of facets) {
      const codes = [...state.chosen[facet.code]].map((n) => facet.values[n].code);
      if (codes.length) said.set(facet.code, codes.join(","));
    }
    if (state.sort) said.set("sort", state.sort);
    const text = said.toString().replace(/%2C/g, ",");
    try {
      history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
    } catch {
      location.hash = text;
    }
  }

  // ---- which entries -----------------------------------------------------------------------------------------------
  // Score of every entry that the words find: the entries themselves, and those of a facet value that the words name.
  function scores() {
    if (!state.q.trim()) return null;
    const found = new Map();
    for (const { document: one, score } of search(state.q, ["entry", "facet"])) {
      if (one.type === "entry") found.set(one.item.number, Math.max(score, found.get(one.item.number) || 0));
      else if (score >= 85) {
        const [code, value] = one.facet.split("/");
        const facet = facets.find((f) => f.code === code);
        const n = facet.values.findIndex((v) => v.code === value);
        for (const entry of entries) if (entry.has[code].includes(n) && !found.has(entry.number)) found.set(entry.number, 40);
      }
    }
    return found;
  }

  // An entry that no facet refuses is a result; one that a single facet refuses counts for that facet's values.
  let results = [], refused = {};
  function filter() {
    const found = scores();
    const active = facets.filter((f) => state.chosen[f.code].size);
    results = [];
    refused = Object.fromEntries(active.map((f) => [f.code, []]));
    for (const entry of entries) {
      if (found && !found.has(entry.number)) continue;
      const refusing = active.filter((f) => !entry.has[f.code].some((n) => state.chosen[f.code].has(n)));
      if (!refusing.length) results.push(entry);
      else if (refusing.length === 1) refused[refusing[0].code].push(entry);
    }
    ordered(results, found);
  }
  function counted({ code, values }) {
    const counts = new Uint32Array(values.length);
    for (const list of [results, refused[code] || []]) for (const entry of list) for (const n of entry.has[code]) counts[n]++;
    return counts;
  }

  const letters = entries.map((entry) => entry.name.normalize("NFKD").toLowerCase());
  const yearOf = (entry) => Number(window.Catalog.labels(entry, "year")[0] || 0);
  const rungs = (entry) => (entry.has.rung || []).length;
  function ordered(list, found) {
    const byName = ({ number: a }, { number: b }) => (letters[a] < letters[b] ? -1 : Number(letters[a] > letters[b]));
    const orders = {
      "": (a, b) => (found ? found.get(b.number) - found.get(a.number) : b.weight - a.weight),
      name: byName,
      year: (a, b) => yearOf(b) - yearOf(a),
      rung: (a, b) => rungs(b) - rungs(a),
      kind: (a, b) => a.has.kind[0] - b.has.kind[0],
    };
    return list.sort((a, b) => orders[state.sort](a, b) || byName(a, b));
  }

  // ---- the page ----------------------------------------------------------------------------------------------------
  const query = make("input", { type: "search", id: "explore-q", value: "", placeholder: "name, alias, sensor, task, word", autocomplete: "off", spellcheck: "false" });
  const sort = make("select", { id: "explore-sort" }, ...Object.entries(SORTS).map(([code, label]) => make("option", { value: code }, label)));
  const status = make("p", { class: "count", role: "status", "aria-live": "polite" });
  const chips = make("ul", { class: "chips", "aria-label": "Filters in use" });
  const rows = make("ol", { class: "rows" });
  const more = make("button", { type: "button", class: "more" });
  const exports = make("span", { class: "exports", role: "group", "aria-label": "Export" }, make("span", {}, "Export "),
    ...["BibTeX", "CSV", "JSON"].map((name) => make("button", { type: "button", "data-export": name }, name)));
  const tray = make("div", { class: "tray", hidden: true, role: "region", "aria-label": "Selected entries" });
  const found = root.querySelector(".found");
  found.replaceChildren(
    make("div", { class: "ask" }, make("label", { for: "explore-q" }, "Find"), query),
    make("div", { class: "bar" }, status, make("label", { for: "explore-sort" }, "Sort by ", sort), exports),
    chips, rows, more, tray
  );

  const boxes = {};
  function build(facet) {
    const block = root.querySelector(`details[data-facet="${facet.code}"]`);
    boxes[facet.code] = [...block.querySelectorAll("li")].map((item, n) => {
      const box = make("input", { type: "checkbox" });
      const count = make("span");
      item.setAttribute("role", "none"); // the list becomes a group of boxes
      item.replaceChildren(make("label", {}, box, make("span", { class: "value" }, facet.values[n].label), count));
      box.addEventListener("change", () => {
        state.chosen[facet.code][box.checked ? "add" : "delete"](n);
        update();
      });
      return { box, count, item };
    });
    block.querySelector("ul").setAttribute("role", "group");
    block.querySelector("ul").setAttribute("aria-label", facet.title);
    block.querySelector("summary").append(make("b", { class: "on" }));
  }
  const label = root.querySelector(".facets > .label");
  label.textContent = "Filter by";
  const fold = make("button", { type: "button", class: "fold", "aria-expanded": "false" }, "Filters");
  fold.addEventListener("click", () => fold.setAttribute("aria-expanded", String(root.classList.toggle("unfolded"))));
  label.after(fold);

  let shown = 0;

  const RUNGS = ["Sourced", "Runs", "Matches", "Learns", "Measured"];

  function row(entry) {
    const box = make("input", { type: "checkbox", "aria-label": `Select ${entry.name} to compare` });
    box.checked = selection.has(entry.key);
    box.disabled = !box.checked && selection.full();
    box.addEventListener("change", () => selection.toggle(entry.key));
    box.dataset.key = entry.key;
    const family = window.Catalog.labels(entry, "family").map((text) => text.replace(/ \([^)]*\)$/, ""));
    const about = [entry.kind.one, ...family, ...window.Catalog.labels(entry, "year")].join(" · ");
    const reached = window.Catalog.labels(entry, "rung");
    const pips = make("span", { class: "pips", role: "img", title: `reached: ${reached.join(", ") || "no rung"}`, "aria-label": `${reached.length} of 5 rungs` },
      ...RUNGS.map((name) => make("i", { class: reached.includes(name) ? "reached" : "" })));
    return make("li", { "data-key": entry.key }, box,
      make("div", {}, make("a", { href: address(entry.page) }, entry.name), entry.full ? make("span", { class: "full" }, entry.full) : null),
      make("span", { class: "about" }, about), pips);
  }

  function extend(count = STEP) {
    rows.append(...results.slice(shown, shown + count).map(row));
    shown = Math.min(results.length, shown + count);
    more.hidden = shown >= results.length;
    more.textContent = `Show ${Math.min(STEP, results.length - shown)} more of ${results.length}`;
  }
  more.addEventListener("click", () => {
    const first = shown;
    extend();
    rows.children[first].querySelector("a").focus();
  });

  function chip(text, remove) {
    const button = make("button", { type: "button", "aria-label": `Remove filter ${text}` }, text, " ×");
    button.addEventListener("click", remove);
    return make("li", {}, button);
  }

  function update(count = STEP) {
    writeAddress();
    filter();
    shown = 0;
    rows.replaceChildren();
    extend(count);
    status.textContent = `${results.length} ${results.length === 1 ? "entry" : "entries"}`;
    const marks = [];
    if (state.q.trim()) marks.push(chip(`“${state.q.trim()}”`, () => { state.q = query.value = ""; update(); query.focus(); }));
    for (const facet of facets) {
      const chosen = state.chosen[facet.code];
      if (boxes[facet.code]) mark(facet);
      for (const n of chosen) marks.push(chip(`${facet.title}: ${facet.values[n].label}`, () => { chosen.delete(n); update(); }));
    }
    if (marks.length > 1) marks.push(chip("all filters", () => { clear(); update(); }));
    chips.replaceChildren(...marks);
    fold.textContent = marks.length ? `Filters (${Math.max(1, marks.length - (marks.length > 1))})` : "Filters";
    sort.value = state.sort;
  }
  // How the boxes of a facet stand, and what each would find.
  function mark(facet) {
    const chosen = state.chosen[facet.code], counts = counted(facet);
    boxes[facet.code].forEach(({ box, count, item }, n) => {
      box.checked = chosen.has(n);
      count.textContent = counts[n];
      item.classList.toggle("none", !counts[n] && !box.checked);
    });
    root.querySelector(`details[data-facet="${facet.code}"] .on`).textContent = chosen.size || "";
  }
  function clear() {
    state.q = query.value = "";
    for (const facet of facets) state.chosen[facet.code].clear();
  }

  // ---- selection and export ----------------------------------------------------------------------------------------
  function showSelection() {
    const keys = selection.keys().filter((key) => data().byKey[key]);
    tray.hidden = !keys.length;
    const drop = make("button", { type: "button" }, "Clear");
    drop.addEventListener("click", () => selection.set([]));
    const go = keys.length > 1
      ? make("a", { class: "go", href: selection.address(keys) }, `Compare ${keys.length}`)
      : make("span", {}, `Select up to ${selection.MOST} to compare`);
    tray.replaceChildren(make("span", { class: "names" }, keys.map((key) => data().byKey[key].name).join(", ")), drop, go);
    rows.querySelectorAll("input[type=checkbox]").forEach((box) => {
      box.checked = selection.has(box.dataset.key);
      box.disabled = !box.checked && selection.full();
    });
    exports.firstChild.textContent = keys.length ? `Export ${keys.length} selected ` : "Export all found ";
  }

  const quoted = (text) => {
    const safe = /^[=+@\t]/.test(text) ? "'" + text : text; // a spreadsheet must not take a name for a formula
    return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  const plainEntry = (entry) => ({
    kind: entry.kind.kind, id: entry.id, name: entry.name, full_name: entry.full, aliases: entry.aliases,
    ...Object.fromEntries(facets.filter((f) => f.code !== "kind").map((f) => [f.code, entry.has[f.code].map((n) => f.values[n].code)])),
    page: entry.page,
  });
  const writers = {
    JSON: (list) => ["application/json", "json", JSON.stringify(list.map(plainEntry), null, 1) + "\n"],
    CSV(list) {
      const table = list.map(plainEntry);
      const names = Object.keys(plainEntry(entries[0]));
      const lines = table.map((one) => names.map((name) => quoted(Array.isArray(one[name]) ? one[name].join("; ") : one[name])).join(","));
      return ["text/csv", "csv", [names.join(","), ...lines].join("\r\n") + "\r\n"];
    },
    BibTeX: (list) => ["application/x-bibtex", "bib", list.map((entry) => window.catalogBibtex[entry.key]).filter(Boolean).join("\n\n") + "\n"],
  };
  exports.addEventListener("click", async (event) => {
    const name = event.target.dataset.export;
    if (!name) return;
    if (name === "BibTeX") await load("assets/catalog-bibtex.js");
    const keys = selection.keys().filter((key) => data().byKey[key]);
    const list = keys.length ? keys.map((key) => data().byKey[key]) : results;
    const [type, ending, text] = writers[name](list);
    const url = URL.createObjectURL(new Blob([text], { type: type + ";charset=utf-8" }));
    const link = make("a", { href: url, download: `catalog-${list.length}.${ending}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
    const papers = name === "BibTeX" ? ` (${list.filter((entry) => window.catalogBibtex[entry.key]).length} with a paper)` : "";
    status.textContent = `${list.length} exported as ${name}${papers}`;
  });

  // The entries found, in their order.
  window.Catalog.found = () => results.map((entry) => entry.key);

  // ---- start -------------------------------------------------------------------------------------------------------
  let timer = 0;
  query.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => { state.q = query.value; update(); }, 80);
  });
  sort.addEventListener("change", () => { state.sort = sort.value; update(); });
  document.addEventListener("selection", showSelection);
  window.addEventListener("popstate", () => { readAddress(); query.value = state.q; update(); });

  readAddress();
  query.value = state.q;
  for (const facet of facets) if (state.chosen[facet.code].size) root.querySelector(`details[data-facet="${facet.code}"]`).open = true;
  update(FIRST);
  showSelection();
  words().then(() => state.q && update(), () => {});

  // The rest in many small turns, so that a tap never waits for all of it: more rows, then boxes in the place of links.
  const turns = [
    () => shown === FIRST && extend(STEP - FIRST),
    ...facets.map((facet) => () => { build(facet); mark(facet); }),
  ];
  setTimeout(function next() {
    turns.shift()();
    if (turns.length) setTimeout(next);
  });
});
