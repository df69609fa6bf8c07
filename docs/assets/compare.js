// Two to five entries side by side. Which ones stands in the address: ?ids=framework/simclr,framework/byol
//
// Results are ranked only within one protocol: same data, metric, unit and way of judging, and for reported ones the same
// stated setting. What the authors report and what was measured here are never in one ranking.
(() => {
  "use strict";
  const root = document.getElementById("comparison");
  const { make, address, data, load, labels, selection, words, search } = window.Catalog;
  if (!root || !window.catalogIndex) return;
  const { facets, byKey } = data();
  const said = new URLSearchParams(location.search || location.hash.replace(/^#/, ""));
  const clean = (list) => [...new Set(list)].filter((key) => byKey[key]).slice(0, selection.MOST);
  let keys = clean((said.get("ids") || "").split(","));
  if (!keys.length) keys = clean(selection.keys());
  root.querySelector("noscript")?.remove();
  const status = make("p", { class: "count", role: "status", "aria-live": "polite" });
  const adder = make("div", { class: "adder" });
  const body = make("div");
  root.append(adder, status, body);

  function go(list) {
    keys = list;
    selection.set(list);
    const text = "ids=" + list.join(",");
    try {
      history.replaceState(null, "", location.pathname + "?" + text);
    } catch {
      location.hash = text;
    }
    show();
  }

  // ---- rankings ----------------------------------------------------------------------------------------------------
  const shownNumber = (x) => (x == null ? "–" : Math.abs(x) >= 10 ? String(Math.round(x * 10) / 10) : String(Number(x.toPrecision(3))));
  const better = (a, b) => (a.less ? a.value < b.value : a.value > b.value);
  const hasInterval = (one) => one.lower != null && one.upper != null;
  // Surely better: values differ and, where both state an interval, the intervals do not overlap.
  const surely = (a, b) => better(a, b) && !(hasInterval(a) && hasInterval(b) && a.lower <= b.upper && b.lower <= a.upper);
  window.Catalog.rank = (scores) => scores
    .map((one) => ({
      ...one,
      rank: 1 + scores.filter((other) => surely(other, one)).length,
      tied: scores.some((other) => other !== one && !surely(other, one) && !surely(one, other)),
    }))
    .sort((a, b) => a.rank - b.rank || (better(a, b) ? -1 : 1));

  // All scores of the chosen entries in blocks of one protocol; the settings that two entries share are ranked.
  function blocks(field) {
    const groups = new Map();
    for (const key of keys) {
      for (const score of window.catalogEntries[key][field]) {
        if (score.value == null) continue;
        if (!groups.has(score.group)) groups.set(score.group, []);
        groups.get(score.group).push({ ...score, key });
      }
    }
    return [...groups.values()].filter((scores) => new Set(scores.map((s) => s.key)).size > 1).map((scores) => {
      const settings = new Map();
      for (const score of scores) {
        const name = score.setting.toLowerCase().replace(/[^a-z0-9]+/g, "");
        if (!settings.has(name)) settings.set(name, []);
        settings.get(name).push(score);
      }
      const ranked = [], single = [];
      for (const same of settings.values()) {
        // One run that serves two entries is one result, and several of one entry are not a contest.
        const runs = new Set(same.map((s) => (field === "measured" ? s.where : s.key)));
        if (new Set(same.map((s) => s.key)).size > 1 && runs.size > 1) ranked.push(window.Catalog.rank(same));
        else single.push(...same);
      }
      return { title: `${scores[0].metric}, ${scores[0].title}`, less: scores[0].less, ranked, single };
    });
  }

  const nameOf = (key) => make("a", { href: address(byKey[key].page) }, byKey[key].name);
  function scoreRow(score, place) {
    const interval = hasInterval(score) ? ` [${shownNumber(score.lower)}, ${shownNumber(score.upper)}]` : "";
    return make("tr", {}, make("td", { class: "place" }, place), make("th", { scope: "row" }, nameOf(score.key)),
      make("td", { class: "value" }, make("b", {}, shownNumber(score.value) + (score.unit ? " " + score.unit : "")), make("small", {}, interval)),
      make("td", {}, [score.setting, score.where].filter(Boolean).join("; ")));
  }
  function results(field, title, about) {
    const found = blocks(field);
    const parts = [make("h2", { id: field }, title), make("p", { class: "quiet" }, found.length ? about : `No protocol that two of these entries share. ${about}`)];
    for (const block of found) {
      const rows = [];
      for (const ranked of block.ranked) for (const score of ranked) rows.push(scoreRow(score, `${score.rank}${score.tied ? " (tie)" : ""}`));
      for (const score of block.single) rows.push(scoreRow(score, "not ranked"));
      const head = ["place", "entry", block.less ? "value (less is better)" : "value", field === "measured" ? "run" : "setting, read at"];
      parts.push(make("div", { class: "scroll" }, make("table", { class: "scores" }, make("caption", {}, block.title),
        make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows))));
    }
    return parts;
  }

  // ---- facts -------------------------------------------------------------------------------------------------------
  function facts() {
    const head = make("tr", {}, make("td", {}), ...keys.map((key) => {
      const entry = byKey[key];
      const drop = make("button", { type: "button", class: "drop", "aria-label": `Remove ${entry.name}` }, "×");
      drop.addEventListener("click", () => go(keys.filter((k) => k !== key)));
      return make("th", { scope: "col" }, drop, nameOf(key), make("small", {}, entry.full || entry.kind.one));
    }));
    const rows = [];
    const row = (name, cells) => {
      if (!cells.some((cell) => (typeof cell === "string" ? cell : cell && cell.childNodes.length))) return;
      const words = cells.map((cell) => (typeof cell === "string" ? cell : cell ? cell.textContent : ""));
      rows.push(make("tr", { class: words.every((w) => w === words[0]) ? "same" : "" }, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell || "–"))));
    };
    const of = (key) => window.catalogEntries[key];
    row("In short", keys.map((key) => of(key).summary));
    for (const facet of facets) {
      if (["memory", "rung", "weights"].includes(facet.code)) continue;
      row(facet.title, keys.map((key) => labels(byKey[key], facet.code).map((text) => (facet.code === "family" ? text.replace(/ \([^)]*\)$/, "") : text)).join(", ")));
    }
    const names = [...new Set(keys.flatMap((key) => of(key).facts.map(([name]) => name)))];
    for (const name of names) row(name, keys.map((key) => (of(key).facts.find(([n]) => n === name) || ["", ""])[1]));
    for (const name of ["Code", "Weights"]) {
      row(name, keys.map((key) => {
        const link = of(key).links.find(([n]) => n === name);
        return link ? make("a", { href: link[1] }, new URL(link[1]).hostname) : "";
      }));
    }
    row("Verification", keys.map((key) => make("span", {}, ...of(key).ladder.map(([name, state]) => make("span", { class: `rung ${state}` }, `${name}${state === "reached" ? " ✓" : state === "expired" ? " expired" : " –"}`)))));
    row("Implementation", keys.map((key) => {
      const one = of(key).implementation;
      return one ? make("span", {}, make("a", { href: address(one.page) }, one.name), one.difference ? ". " + one.difference : "") : "none yet";
    }));
    return make("div", { class: "scroll" }, make("table", { class: "versus" }, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  // ---- adding one --------------------------------------------------------------------------------------------------
  const input = make("input", { type: "search", id: "compare-add", list: "compare-names", autocomplete: "off", placeholder: "name of an entry" });
  const names = make("datalist", { id: "compare-names" });
  adder.append(make("label", { for: "compare-add" }, "Add "), input, names);
  function add() {
    const hit = search(input.value, ["entry"])[0];
    if (!hit || keys.includes(hit.document.item.key)) return;
    input.value = "";
    go([...keys, hit.document.item.key]);
  }
  input.addEventListener("input", (event) => {
    names.replaceChildren(...search(input.value, ["entry"]).slice(0, 8).map((hit) => make("option", { value: hit.document.title }, hit.document.note)));
    if (event.inputType === "insertReplacementText" || event.inputType === undefined) add(); // picked from the list
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") add();
  });

  let asked = 0;
  async function show() {
    const mine = ++asked;
    input.disabled = keys.length >= selection.MOST;
    if (keys.length < 2) {
      const what = keys.length ? `${byKey[keys[0]].name} and …? Add one more entry.` : "Add two to five entries";
      status.textContent = keys.length ? what : what + ", here, on their pages, or in the explorer.";
      body.replaceChildren(make("p", {}, make("a", { href: address("explore/") }, "Choose in the explorer")));
      return;
    }
    await Promise.all(keys.map((key) => load(`assets/entries/${key}.js`)));
    if (mine !== asked) return;
    status.textContent = `${keys.length} entries. Quiet rows are equal in all of them.`;
    body.replaceChildren(facts(),
      ...results("reported", "Reported by the authors", "Ranked only where data, metric, protocol and the stated setting are the same. No interval is stated unless shown, so a small lead proves little."),
      ...results("measured", "Measured here", "Runs of the implementations on public record. Ranked only where the protocol's fingerprint is the same; overlapping intervals are ties."));
  }
  show();
  words();
})();
