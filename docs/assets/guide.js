// "Which method for my data?": combines the answers that the page lists one by one. They stand in the address:
// ?modality=sar&labels=few
(() => {
  "use strict";
  const root = document.getElementById("guide");
  const { make, address } = window.Catalog || {};
  if (!root || !make || !window.catalogGuide) return;
  const { questions, reasons, methods } = window.catalogGuide; // scripts/site/guide.py says what they hold
  const PAGE = 4; // of those that run here, and as many of the others
  let shown = PAGE;

  // fits: question -> answer -> reason, by number.
  for (const method of methods) {
    method.why = {};
    for (const part of method.fits.split(" ")) {
      const [q, a, reason] = part.split(".");
      (method.why[q] ||= {})[a] = reasons[reason];
    }
  }

  const form = root.querySelector("form");
  const fields = questions.map(([code]) => form.elements[code]);
  const [status, clear, list, more] = [".count", ".clear", ".found", ".more"].map((one) => root.querySelector(one));

  function readAddress() {
    const said = new URLSearchParams(location.search || location.hash.replace(/^#/, ""));
    fields.forEach((select, n) => {
      const asked = said.get(select.name) || "";
      select.value = questions[n][1].includes(asked) ? asked : "";
    });
  }
  function writeAddress() {
    const said = new URLSearchParams();
    for (const select of fields) if (select.value) said.set(select.name, select.value);
    const text = said.toString();
    try {
      history.replaceState(null, "", location.pathname + (text ? "?" + text : ""));
    } catch {
      location.hash = text;
    }
  }

  function item(method, why) {
    const head = make("p", {}, make("b", {}, make("a", { href: address(method.page) }, method.name)), " ", make("small", {}, method.about));
    const said = [...why, ...(!method.run && method.weights ? ["weights are published"] : [])].join("; ");
    const about = make("p", {}, said ? said[0].toUpperCase() + said.slice(1) + ". " : "");
    if (method.run) about.append(`Needs of a sample: ${method.needs}.`);
    else if (method.closest) {
      about.append("What runs here comes closest: ", make("a", { href: address(`implementations/${method.closest}/`) }, method.closest), ".");
    }
    if (method.learned) about.append(make("br"), make("small", {}, `Learned here: ${method.learned}.`));
    const words = (method.run || "").split(/(--[\w-]+)/).map((word, n) => (n % 2 ? make("i", {}, word) : word));
    const command = method.run && make("div", { class: "cmd" }, make("code", {}, ...words), " ", make("button", { type: "button", class: "copy" }, "Copy"));
    return make("li", {}, head, about, command);
  }

  function group(title, found) {
    if (!found.length) return [];
    const some = found.length > shown ? ` the first ${shown} of ${found.length}` : "";
    return [make("p", { class: "label" }, title, make("small", {}, some)),
      make("ul", { class: "picks" }, ...found.slice(0, shown).map(([method, why]) => item(method, why)))];
  }

  function show() {
    const chosen = fields.map((select, q) => questions[q][1].indexOf(select.value));
    const asked = chosen.some((a) => a >= 0);
    const found = [];
    for (const method of methods) {
      const why = [];
      const fits = chosen.every((a, q) => a < 0 || (method.why[q]?.[a] != null && why.push(method.why[q][a])));
      if (fits) found.push([method, [...new Set(why)]]);
    }
    // As on the page: what learned here first, and of that what its authors made for it.
    const place = ([method, why]) => (method.learned ? 0 : 2) + (why.some((reason) => reason.startsWith("for ")) ? 0 : 1);
    const here = found.filter(([method]) => method.run).sort((a, b) => place(a) - place(b));
    const others = found.filter(([method]) => !method.run);
    status.textContent = found.length
      ? `${found.length} ${found.length === 1 ? "method" : "methods"}, ${here.length} of them ${here.length === 1 ? "runs" : "run"} here`
      : "No method is known to suit all of it; take one answer back.";
    clear.hidden = !asked;
    root.classList.toggle("asked", asked);
    list.replaceChildren(...(asked ? [...group(list.dataset.here, here), ...group(list.dataset.elsewhere, others)] : []));
    more.hidden = !asked || Math.max(here.length, others.length) <= shown;
  }

  form.addEventListener("change", () => { shown = PAGE; writeAddress(); show(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  clear.addEventListener("click", () => {
    for (const select of fields) select.value = "";
    writeAddress();
    show();
    fields[0].focus();
  });
  more.addEventListener("click", () => {
    const first = shown;
    shown += PAGE;
    show();
    const next = [...list.querySelectorAll("ul")].map((one) => one.children[first]).find(Boolean);
    next?.querySelector("a").focus();
  });
  window.addEventListener("popstate", () => { readAddress(); show(); });
  readAddress();
  show();
})();
