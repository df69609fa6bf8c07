// The catalog in the browser: reads the index that the generator wrote (scripts/site/index.py) back into objects, and
// loads the scripts that pages need. Plain scripts that set globals, so that all of it works from file:// as well.
window.Catalog = (() => {
  "use strict";
  const holder = document.querySelector("[data-base]");
  const base = (holder ? holder.dataset.base : ".").replace(/\/?$/, "/");
  const address = (page) => base + page + (location.protocol === "file:" && (page === "" || page.endsWith("/")) ? "index.html" : "");

  const loading = {};
  function load(path) {
    loading[path] ||= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = base + path;
      script.addEventListener("load", resolve);
      script.addEventListener("error", () => reject(new Error(path + " cannot be loaded")));
      document.head.append(script);
    });
    return loading[path];
  }

  // <tag name="value">children</tag>; children are elements or text, never markup.
  function make(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(name, "");
      else if (value !== false && value != null) made.setAttribute(name, value);
    }
    made.append(...children.filter((child) => child != null && child !== ""));
    return made;
  }

  const idOf = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_+|_+$/g, "");

  // Objects from the columns of catalog-index.js.
  function read(index) {
    const kinds = Object.fromEntries(index.kinds.map(([kind, folder, one, many]) => [kind, { kind, folder, one, many }]));
    const facets = index.facets.map(([code, title, values]) => ({
      code,
      title,
      values: values.map(([value, label]) => ({ code: value, label, page: `facets/${code}/${value}/` })),
    }));
    const ids = index.ids.split(",");
    const columns = facets.map((facet) => index.values[facet.code].split(","));
    const cells = { "": [] }; // few are unlike: each is read once, and entries that say the same share it
    const numbers = (cell) => (cells[cell] ||= cell.split(".").map((n) => parseInt(n, 36)));
    const entries = index.names.map((name, i) => {
      const has = {};
      facets.forEach((facet, f) => {
        has[facet.code] = numbers(columns[f][i]);
      });
      const kind = kinds[facets[0].values[has.kind[0]].code];
      const full = index.full[i];
      const id = ids[i] || idOf(name);
      return {
        number: i,
        kind,
        id,
        key: `${kind.kind}/${id}`,
        name,
        full: full.startsWith("~") ? name + full.slice(1) : full,
        aliases: index.aliases[i] ? index.aliases[i].split("|") : [],
        weight: Number(index.weight[i]),
        has,
        page: `${kind.folder}/${id}/`,
      };
    });
    return {
      kinds,
      facets,
      entries,
      byKey: Object.fromEntries(entries.map((entry) => [entry.key, entry])),
    };
  }

  let catalog = null;
  const api = {
    base,
    address,
    load,
    make,
    // The catalog's objects, once assets/catalog-index.js has run.
    data: () => (catalog ||= read(window.catalogIndex)),
    labels: (entry, code) => {
      const facet = api.data().facets.find((f) => f.code === code);
      return facet ? entry.has[code].map((n) => facet.values[n].label) : [];
    },
    // Loads what searching needs; words come second and make it finer.
    async ready() {
      await Promise.all([load("assets/catalog-index.js"), load("assets/search.js")]);
      return api;
    },
    words: () => load("assets/catalog-words.js"),
  };
  return api;
})();
