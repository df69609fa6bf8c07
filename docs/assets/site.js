// Copy buttons. Everything on the site works without this file.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  const text = button.parentElement.querySelector("code, pre").textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages opened from a file or over plain http have no clipboard; this older way still works there.
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
});

// The map of methods begins with the present, and the lines of the method that is pointed at stand out.
for (const map of document.querySelectorAll("svg.lineage")) {
  new ResizeObserver(([{ contentRect }], once) => {
    map.parentElement.scrollLeft = contentRect.width;
    once.disconnect();
  }).observe(map); // it tells the width when the page has been laid out; asking would have that done once more
  const light = (event) => {
    const number = event.type === "mouseout" || event.type === "focusout" ? null : event.target.closest("a")?.dataset.n;
    for (const edge of map.querySelectorAll(".edge")) {
      edge.classList.toggle("lit", number != null && edge.dataset.of.split(" ").includes(number));
    }
  };
  for (const type of ["mouseover", "mouseout", "focusin", "focusout"]) map.addEventListener(type, light);
}

// A table, formula or code that is wider than its place is scrolled by keys, too: it takes the focus where nothing in it
// does. To ask for its width is to have the page laid out, so this waits until that is done.
addEventListener("load", () => setTimeout(() => {
  for (const box of document.querySelectorAll(".scroll, math[display=block], .md-typeset pre > code, .md-typeset table:not([class])")) {
    if (box.scrollWidth > box.clientWidth && !box.querySelector("a, button")) box.tabIndex = 0;
  }
}));
