// The search box in the header: a combobox whose list shows what `Catalog.search` finds. What it needs is loaded when it
// is first used, so that pages stay light.
(() => {
  "use strict";
  const box = document.querySelector(".find");
  if (!box) return;
  const { make, address, load, words, ready } = window.Catalog;
  const form = box.querySelector("form"), input = box.querySelector("input");
  const list = make("ul", { id: "find-list", class: "find__list", role: "listbox", "aria-label": "Search results" });
  const all = make("a", { class: "find__all", href: address("explore/") }, "");
  const status = make("p", { class: "find__status", role: "status" });
  const panel = make("div", { class: "find__panel", hidden: true }, status, list, all);
  form.append(panel);
  for (const [name, value] of Object.entries({
    role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "find-list",
  })) input.setAttribute(name, value);

  const MOST = 8;
  let chosen = -1;

  function open(state) {
    panel.hidden = !state;
    input.setAttribute("aria-expanded", String(state));
    if (!state) choose(-1);
  }

  function choose(number) {
    const options = [...list.querySelectorAll("a")];
    chosen = options.length ? (number + 1 + options.length + 1) % (options.length + 1) - 1 : -1;
    options.forEach((option, i) => option.setAttribute("aria-selected", String(i === chosen)));
    if (chosen >= 0) {
      input.setAttribute("aria-activedescendant", options[chosen].id);
      options[chosen].scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  }

  function show() {
    const text = input.value.trim();
    if (!text || !window.Catalog.search) return open(false);
    const hits = window.Catalog.search(text);
    list.replaceChildren(
      ...hits.slice(0, MOST).map(({ document: one }, i) =>
        make("li", { role: "none" },
          make("a", { role: "option", id: `find-${i}`, "aria-selected": "false", href: address(one.page), tabindex: "-1" },
            make("span", { class: "find__kind" }, one.note),
            make("b", {}, one.title),
            one.small ? make("span", { class: "find__full" }, one.small) : null)))
    );
    status.textContent = hits.length ? "" : "Nothing found. Try fewer words, or browse by facet.";
    all.href = address("explore/") + (hits.length ? "?q=" + encodeURIComponent(text) : "");
    all.textContent = hits.length ? "Show all of these in the explorer" : "Explore the whole catalog";
    input.dataset.answered = text;
    open(true);
    choose(-1);
  }

  let asked = null;
  function prepare() {
    asked ||= ready().then(() => {
      words().then(show, () => {});
      show();
    }, () => {});
    return asked;
  }

  input.addEventListener("focus", () => { prepare(); if (input.value.trim()) show(); });
  input.addEventListener("input", () => prepare().then(show));
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (panel.hidden) show();
      choose(chosen + (event.key === "ArrowDown" ? 1 : -1));
    } else if (event.key === "Enter" && chosen >= 0) {
      event.preventDefault();
      list.querySelectorAll("a")[chosen].click();
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (!panel.hidden) return open(false);
      input.value = "";
      input.blur();
      box.classList.remove("find--open");
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    location.href = address("explore/") + "?q=" + encodeURIComponent(input.value.trim());
  });
  form.addEventListener("focusout", (event) => {
    if (event.relatedTarget && form.contains(event.relatedTarget)) return;
    open(false);
    if (!input.value) box.classList.remove("find--open");
  });
  panel.addEventListener("mousedown", (event) => event.preventDefault()); // the click comes before the focus goes
  box.querySelector(".find__open").addEventListener("click", () => { box.classList.add("find--open"); input.focus(); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !["/", "s"].includes(event.key)) return;
    event.preventDefault();
    box.classList.add("find--open");
    input.focus();
    input.select();
  });
})();
