// The entries that a visitor set aside to compare: at most five, kept between pages of this site on this device.
(() => {
  "use strict";
  const MOST = 5, STORE = "catalog-compare";
  const { make, address } = window.Catalog;
  let keys = [];
  try {
    keys = JSON.parse(localStorage.getItem(STORE)) || [];
  } catch {} // no storage: the selection lasts as long as the page
  if (!Array.isArray(keys)) keys = [];
  keys = keys.filter((key) => /^[a-z_]+\/[a-z0-9_]+$/.test(key)).slice(0, MOST);

  const selection = (window.Catalog.selection = {
    MOST,
    keys: () => [...keys],
    has: (key) => keys.includes(key),
    full: () => keys.length >= MOST,
    set(list) {
      keys = list.slice(0, MOST);
      try {
        localStorage.setItem(STORE, JSON.stringify(keys));
      } catch {}
      document.dispatchEvent(new CustomEvent("selection"));
    },
    toggle(key) {
      if (selection.has(key)) selection.set(keys.filter((k) => k !== key));
      else if (!selection.full()) selection.set([...keys, key]);
    },
    address: (list = keys) => address("compare/") + "?ids=" + list.map(encodeURIComponent).join(",").replace(/%2F/g, "/"),
  });

  // On an entry's page: a link that adds the entry, and beside it one to the comparison.
  const add = document.querySelector("a.add[data-entry]");
  if (!add) return;
  const key = add.dataset.entry;
  const button = make("button", { type: "button", class: "add" });
  const go = make("a", { class: "go" });
  add.replaceWith(button, go);
  function show() {
    button.textContent = selection.has(key) ? "Remove from comparison" : "Add to comparison";
    button.disabled = !selection.has(key) && selection.full();
    go.hidden = keys.length < 2;
    go.textContent = `Compare ${keys.length}`;
    go.href = selection.address();
  }
  button.addEventListener("click", () => selection.toggle(key));
  document.addEventListener("selection", show);
  show();
})();
