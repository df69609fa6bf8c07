// The search: which entry, facet value or page a person means by a few words.
//
// Every document has keys (name, full name, aliases ...), each with a weight. A query is compared with each key as a
// whole, without spaces and hyphens ("moco-v2", "MoCo v2" and "mocov2" are one), then word by word, then with an edit
// or two; last with the words of summaries. The best key makes the score; of equal ones the better known comes first.
(() => {
  "use strict";
  const SPELLINGS = [
    [/isation/g, "ization"], [/ising\b/g, "izing"], [/ised\b/g, "ized"], [/iser\b/g, "izer"], [/colour/g, "color"],
    [/elling\b/g, "eling"], [/elled\b/g, "eled"], [/centr(ing|ed)\b/g, "center$1"], [/neighbour/g, "neighbor"],
    [/metre/g, "meter"], [/\+\+/g, "pp"], [/(\d)\.0\b/g, "$1"],
  ];

  const SPELLED = new RegExp(SPELLINGS.map(([from]) => from.source).join("|"));

  function fold(text) {
    let folded = text.toLowerCase();
    if (/[^\x00-\x7f]/.test(folded)) folded = folded.normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
    if (SPELLED.test(folded)) for (const [from, to] of SPELLINGS) folded = folded.replace(from, to);
    return folded;
  }

  const LITTLE = new Set("a all an and are for how in is of on or the to what which with".split(" "));

  // Words, numbers apart from letters; the v of a version is dropped: "DINOv2" -> dino 2.
  function split(text) {
    return (fold(text).replace(/v(?=\d)/g, " ").match(/[a-z]+|\d+/g) || []).map((w) => (w.length > 3 && w.endsWith("s") && !w.endsWith("ss") ? w.slice(0, -1) : w));
  }

  // Edits (insert, drop, replace, swap) from a to b, or more than `most` where there are more.
  const rows = [new Uint8Array(80), new Uint8Array(80), new Uint8Array(80)];
  function distance(a, b, most) {
    const wide = b.length;
    if (Math.abs(a.length - wide) > most || wide > 78) return most + 1;
    let [before, last, row] = rows;
    for (let j = 0; j <= wide; j++) last[j] = j;
    for (let i = 1; i <= a.length; i++) {
      const from = Math.max(1, i - most), to = Math.min(wide, i + most);
      let least = (row[0] = i);
      if (from > 1) row[from - 1] = 200;
      for (let j = from; j <= to; j++) {
        const same = a[i - 1] === b[j - 1];
        let cost = last[j - 1] + (same ? 0 : 1);
        if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1;
        if (j < i + most && last[j] + 1 < cost) cost = last[j] + 1;
        if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] && before[j - 2] + 1 < cost) cost = before[j - 2] + 1;
        row[j] = cost;
        if (cost < least) least = cost;
      }
      if (least > most) return most + 1;
      [before, last, row] = [last, row, before];
    }
    return last[wide];
  }
  const edits = (length) => (length < 4 ? 0 : length < 8 ? 1 : 2);

  const acronym = (text) => {
    const words = text.match(/[A-Za-z][A-Za-z]+/g) || [];
    return words.length > 2 ? words.map((w) => w[0]).join("").toLowerCase() : "";
  };

  // WEIGHT: how surely a key means its document.
  const WEIGHT = { name: 1, alias: 0.97, full: 0.96, short: 0.9, label: 0.985, slang: 0.96, family: 0.9, title: 0.97, heading: 0.7, code: 0.8, acronym: 0.8 };

  const NONE = { entries: [], facets: {}, pages: [], implementations: [] }; // until catalog-words.js is there
  function documents(data, words) {
    const found = [];
    const add = (type, item, page, title, small, note, prior, keys) =>
      found.push({ type, item, page, title, small, note, prior, keys: keys.filter(([text]) => text), words: words.entries[found.length] || "" });
    for (const entry of data.entries) {
      const bracket = entry.name.match(/^(.+) \(([^)]+)\)$/);
      add("entry", entry, entry.page, entry.name, entry.full, entry.kind.one, entry.weight / 9, [
        [entry.name, WEIGHT.name],
        ...(bracket ? [[bracket[1], WEIGHT.alias], [bracket[2], WEIGHT.alias]] : []),
        [entry.full, WEIGHT.full],
        ...entry.aliases.map((alias) => [alias, WEIGHT.alias]),
        [acronym(entry.full || entry.name), WEIGHT.acronym],
      ]);
    }
    for (const facet of data.facets) {
      if (facet.code === "year" || facet.code === "memory" || facet.code === "kind") continue;
      for (const value of facet.values) {
        const bare = value.label.replace(/ \([^)]*\)$/, "");
        add("facet", value, value.page, value.label, "", `all with this ${facet.title.toLowerCase()}`, 0.5, [
          [bare, facet.code === "family" ? WEIGHT.family : WEIGHT.label],
          ...(words.facets[`${facet.code}/${value.code}`] || []).map((word) => [word, WEIGHT.slang]),
        ]);
        found[found.length - 1].facet = `${facet.code}/${value.code}`;
      }
    }
    for (const [page, title, ...headings] of words.pages) {
      add("page", { page, title }, page, title, "", "page", 0.2, [[title, WEIGHT.title], ...headings.map((heading) => [heading, WEIGHT.heading])]);
    }
    for (const [name, title] of words.implementations) {
      add("implementation", { name, title }, `implementations/${name}/`, title, "annotated source", "implementation", 0, [
        [title, WEIGHT.code], [name, WEIGHT.code], [title + " implementation", 0.95], [title + " code", 0.95],
      ]);
    }
    return found;
  }

  // What is compared, worked out once.
  function prepare(documents) {
    const frequency = new Map();
    for (const one of documents) {
      one.forms = one.keys.map(([text, weight]) => {
        const words = split(text);
        return { joined: words.join(""), words, length: words.join("").length, weight };
      });
      one.vocabulary = new Map();
      for (const word of split(one.words)) one.vocabulary.set(word, 0.6);
      for (const form of one.forms) for (const word of form.words) one.vocabulary.set(word, 1);
      for (const word of one.vocabulary.keys()) frequency.set(word, (frequency.get(word) || 0) + 1);
    }
    return { documents, frequency };
  }

  // Words of the catalog that a word of the query may stand for: word -> how well, 0 to 1.
  function expand(word, frequency) {
    const most = /\d/.test(word) ? 0 : edits(word.length);
    const found = new Map();
    for (const known of frequency.keys()) {
      if (known === word) found.set(known, 1);
      else if (word.length > 1 && known.startsWith(word)) found.set(known, 0.75 + 0.2 * (word.length / known.length));
      else if (most) {
        const off = distance(word, known, most);
        if (off <= most) found.set(known, 0.8 - 0.12 * off);
      }
    }
    return found;
  }

  function compare(query, form) {
    const { joined, words } = query;
    if (form.joined === joined) return 100;
    let best = 0;
    if (form.joined.startsWith(joined)) {
      let end = 0;
      const whole = form.words.some((w) => (end += w.length) === joined.length);
      best = 70 + 16 * (joined.length / form.length) + (whole ? 6 : 0);
    }
    let sum = 0, covered = 0, all = true;
    for (let i = 0; i < words.length && all; i++) {
      let quality = 0, length = 0;
      for (const word of form.words) {
        const q = query.expanded[i].get(word) || 0;
        if (q > quality) [quality, length] = [q, word.length];
      }
      if (!quality) all = false;
      sum += quality * words[i].length;
      covered += length * quality;
    }
    if (all && words.length) best = Math.max(best, (42 + 42 * Math.min(1, covered / form.length)) * (sum / query.length));
    const most = edits(joined.length);
    if (most && best < 78) {
      const off = distance(joined, form.joined, most);
      if (off <= most) best = Math.max(best, 86 - 9 * off - (joined[0] === form.joined[0] ? 0 : 3));
    }
    return best;
  }

  // Words of the query found anywhere in a document, the rare ones counting more.
  function scattered(query, one, idf) {
    let got = 0, whole = 0;
    query.words.forEach((word, i) => {
      let best = 0;
      for (const [known, quality] of query.expanded[i]) {
        const there = one.vocabulary.get(known);
        if (there && there * quality > best) best = there * quality;
      }
      got += best * idf[i];
      whole += idf[i];
    });
    const share = whole ? got / whole : 0;
    return share > 0.3 ? 55 * share : 0;
  }

  let prepared = null, withWords = false;
  function index() {
    if (!prepared || (!withWords && window.catalogWords)) {
      withWords = Boolean(window.catalogWords);
      prepared = prepare(documents(window.Catalog.data(), window.catalogWords || NONE));
    }
    return prepared;
  }

  // Documents that answer a query, best first: [{document, score}]. types: only these, where given.
  function search(text, types) {
    const said = split(text);
    if (!said.length) return [];
    // Little words count in a name as a whole ("Attention Is All You Need"), but not one by one.
    const words = said.some((word) => !LITTLE.has(word)) ? said.filter((word) => !LITTLE.has(word)) : said;
    const { documents, frequency } = index();
    const query = { words, joined: said.join(""), length: words.join("").length, expanded: words.map((word) => expand(word, frequency)) };
    const idf = query.expanded.map((found, i) => {
      const exact = frequency.get(words[i]) || Math.min(20, [...found.keys()].reduce((n, w) => n + frequency.get(w), 0));
      return Math.log(1 + documents.length / (1 + exact));
    });
    const hits = [];
    for (const one of documents) {
      if (types && !types.includes(one.type)) continue;
      let score = 0;
      for (const form of one.forms) score = Math.max(score, form.weight * compare(query, form));
      if (score < 55) score = Math.max(score, scattered(query, one, idf));
      if (score >= 18) hits.push({ document: one, score: score + 3 * one.prior });
    }
    return hits.sort((a, b) => b.score - a.score || a.document.title.length - b.document.title.length || (a.document.title < b.document.title ? -1 : 1));
  }

  window.Catalog.search = search;
})();
