// Search over tables and columns that tolerates typing mistakes, parts of words and plurals, and knows the glossary's
// synonyms. Every hit says why it matches.

import { column, classes, layerName } from "./data.js";

const FIELDS = [
  { name: "name", weight: 10, says: "in the name" },
  { name: "table", weight: 2.5, says: "in the name of its table" },
  { name: "about", weight: 3, says: "in the description" },
  { name: "owner", weight: 4, says: "as owner" },
  { name: "class", weight: 6, says: "as data class" },
  { name: "tag", weight: 6, says: "as tag" },
  { name: "place", weight: 2, says: "as layer or folder" },
  { name: "origin", weight: 4, says: "in the source system" },
];
const NAME = 0;
const FIELD_BITS = 3;
const PLACED = 24; // columns the glossary names come before similar names, in the glossary's order
const LATER = 0.04; // what each place of a term weighs less than the one before it
const LAYER_WEIGHT = { marts: 1.3, exposure: 1.2, intermediate: 1, staging: 0.95, source: 0.9, seed: 0.9 };
const TECHNICAL = 0.4;
const EXACT = 30; // a complete name is what was meant
// Words of questions; they are looked for only if there are no others.
const STOP = new Set("a about all an and any are at be by can could der did die do does ein eine for from give had has have how i in is it many me much my of on or our please show tell that the their there this to us viel viele was we were what when where which who why wie will with would wir you your".split(" "));
const CLOSE = 0.12; // hits below this share of the best score are left out

export function words(text) {
  return text
    .normalize("NFD")
    .replace(/[\u0300-\u036f]/g, "")
    .replace(/ß/g, "ss")
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .filter(Boolean);
}

/** `orders` and `order` are one word, as are `countries` and `country`. */
export function stem(word) {
  if (word.length > 4 && word.endsWith("ies")) return `${word.slice(0, -3)}y`;
  if (word.length > 3 && word.endsWith("s") && !word.endsWith("ss")) return word.slice(0, -1);
  return word;
}

/** Damerau-Levenshtein distance of two words, or `limit` + 1 when it is larger. */
export function distance(a, b, limit) {
  if (Math.abs(a.length - b.length) > limit) return limit + 1;
  let before = [];
  let last = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    let least = i;
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2] + 1);
      row.push(cost);
      if (cost < least) least = cost;
    }
    if (least > limit) return limit + 1;
    before = last;
    last = row;
  }
  return last[b.length];
}

/** Reads the catalog once; `search(text)` of what it returns answers within milliseconds. */
export function buildIndex(catalog) {
  const documents = []; // [table, place]; place -1 is the table itself
  const weights = [];
  const nameLengths = [];
  const postings = new Map();
  const read = new Map(); // the same description on a hundred columns is split once
  const split = (text) => {
    let found = read.get(text);
    if (!found) read.set(text, (found = words(text)));
    return found;
  };
  const add = (document, field, text) => {
    if (!text) return;
    for (const word of split(text)) {
      let list = postings.get(word);
      if (!list) postings.set(word, (list = []));
      const entry = (document << FIELD_BITS) | field;
      if (list[list.length - 1] !== entry) list.push(entry);
    }
  };
  for (const table of catalog.tables) {
    const layer = LAYER_WEIGHT[table.layer] ?? 1;
    const place = `${table.layer} ${layerName(table.layer)} ${table.domain ?? ""} ${table.kind}`;
    let document = documents.push([table.index, -1]) - 1;
    weights.push(layer * 1.15);
    nameLengths.push(split(table.name).length);
    add(document, 0, table.name);
    add(document, 2, table.text ?? table.about);
    add(document, 3, table.owner);
    add(document, 5, table.tags?.join(" "));
    add(document, 6, place);
    add(document, 7, table.origin);
    for (let c = 0; c < table.columns.length; c += 1) {
      const { name, about, personal, tags } = column(table, c);
      document = documents.push([table.index, c]) - 1;
      weights.push(layer * (name.startsWith("_") ? TECHNICAL : 1));
      nameLengths.push(split(name).length);
      add(document, 0, name);
      add(document, 1, table.name);
      add(document, 2, about);
      if (personal) add(document, 4, `${classes(personal)} personal`);
      if (tags.length) add(document, 5, tags.join(" "));
    }
  }
  const vocabulary = Array.from(postings.keys(), (word) => ({ word, stem: stem(word) }));
  const rarity = (list) => 1 + Math.log(documents.length / list.length) / Math.log(documents.length + 1);
  const first = new Map(); // document of a table or column
  const named = new Map(); // documents of exactly that name
  for (const [i, [table, place]] of documents.entries()) {
    first.set(table * 100000 + place, i);
    const { name, columns } = catalog.tables[table];
    const called = (place < 0 ? name : columns[place][0]).toLowerCase();
    if (named.has(called)) named.get(called).push(i);
    else named.set(called, [i]);
  }
  const terms = glossaryIndex(catalog.glossary);

  // Kept between searches, as allocating for 40,000 columns at each key would take longer than searching.
  const best = new Float32Array(documents.length);
  const reason = new Int32Array(documents.length);
  const total = new Float32Array(documents.length);
  const scores = new Float32Array(documents.length);
  const matched = new Uint8Array(documents.length);
  const why = []; // by word of the query, the reason of each document

  function candidates(term) {
    const wanted = stem(term);
    const near = [];
    const far = [];
    const limit = term.length >= 8 ? 2 : term.length >= 4 ? 1 : 0;
    for (const { word, stem: other } of vocabulary) {
      if (word === term) near.push({ word, quality: 1, how: "is" });
      else if (other === wanted) near.push({ word, quality: 0.95, how: "form" });
      else if (word.startsWith(term)) near.push({ word, quality: 0.55 + 0.35 * (term.length / word.length), how: "begins" });
      else if (term.length > 2 && word.includes(term)) near.push({ word, quality: 0.4, how: "inside" });
      else if (limit) {
        const apart = distance(wanted, other, limit);
        if (apart <= limit) far.push({ word, quality: 0.7 - 0.2 * apart, how: "typo" });
      }
    }
    // A word that exists as typed is not a typing mistake.
    const sure = near.some(({ how }) => how === "is" || how === "form" || how === "begins");
    return sure ? near : [...near, ...far];
  }

  /** Hits for what was typed, best first: {query, terms, hits: [{table, place, score, why}], count}. */
  function search(text, limit = 60) {
    const { plain, filters } = parse(text);
    const typed = words(plain);
    const telling = typed.filter((word) => !STOP.has(word));
    const wanted = telling.length ? telling : typed;
    const known = terms.find(wanted);
    const all = [];
    const touchedEver = [];
    const note = (document, score, entry, touched) => {
      if (score <= best[document]) return;
      if (!best[document]) touched.push(document);
      best[document] = score;
      reason[document] = entry;
    };
    const settle = (touched, index) => {
      const reasons = (why[index] ??= new Int32Array(documents.length));
      for (const document of touched) {
        if (!total[document]) touchedEver.push(document);
        total[document] += best[document];
        matched[document] += 1;
        reasons[document] = reason[document] + 1;
        best[document] = 0;
      }
    };
    for (const [index, term] of wanted.entries()) {
      const touched = [];
      for (const candidate of candidates(term)) {
        const list = postings.get(candidate.word);
        const strength = candidate.quality * rarity(list);
        const number = all.push({ ...candidate, term }) - 1;
        for (const entry of list) {
          const document = entry >> FIELD_BITS;
          const field = entry & ((1 << FIELD_BITS) - 1);
          const whole = field === NAME ? 0.7 + 0.3 / nameLengths[document] : 1;
          note(document, strength * FIELDS[field].weight * whole, (number << FIELD_BITS) | field, touched);
        }
      }
      for (const { term: entry, from, to, said } of known) {
        if (index < from || index >= to) continue;
        for (const phrase of entry.words ?? []) {
          const number = all.push({ word: phrase, how: "glossary", term: said, entry }) - 1;
          for (const document of withAll(words(phrase))) {
            note(document, 8 * (0.7 + 0.3 / nameLengths[document]), (number << FIELD_BITS) | NAME, touched);
          }
        }
        for (const synonym of [entry.term, ...(entry.synonyms ?? [])]) {
          const [word, ...others] = words(synonym);
          // Whole phrases are too rare in names to be looked up; the typed text itself was looked up already.
          if (others.length || word === term) continue;
          const number = all.push({ word, how: "synonym", term: said, entry }) - 1;
          for (const posting of [...(postings.get(word) ?? []), ...(stem(word) === word ? postings.get(`${word}s`) ?? [] : postings.get(stem(word)) ?? [])]) {
            const field = posting & ((1 << FIELD_BITS) - 1);
            if (field > 2) continue; // a department called Sales owns much that is not revenue
            const document = posting >> FIELD_BITS;
            const whole = field === NAME ? 0.7 + 0.3 / nameLengths[document] : 1;
            note(document, 0.5 * FIELDS[field].weight * whole, (number << FIELD_BITS) | field, touched);
          }
        }
        for (const [rank, [table, place]] of entry.places.entries()) {
          const number = all.push({ word: entry.term, how: "placed", term: said, entry }) - 1;
          note(first.get(table * 100000 + place), PLACED * Math.max(0.5, 1 - LATER * rank), (number << FIELD_BITS) | NAME, touched);
        }
      }
      settle(touched, index);
    }
    const exact = new Set([...(named.get(typed.join("_")) ?? []), ...(named.get(plain.trim().toLowerCase()) ?? [])]);
    const found = wanted.length ? touchedEver : filters.length ? [...documents.keys()] : [];
    let highest = 0;
    const kept = [];
    for (const document of found) {
      const [table, place] = documents[document];
      const share = wanted.length ? matched[document] / wanted.length : 1;
      const score = (wanted.length ? total[document] : 1) * share * share * weights[document] + (exact.has(document) ? EXACT : 0);
      matched[document] = 0;
      total[document] = 0;
      if (filters.length && !filters.every((filter) => passes(catalog.tables[table], place, filter))) continue;
      scores[document] = score;
      if (score > highest) highest = score;
      kept.push(document);
    }
    const close = kept.filter((document) => scores[document] >= highest * CLOSE);
    const hits = bestOf(close, limit).map((document) => {
      const [table, place] = documents[document];
      const reasons = wanted.map((_, index) => why[index]?.[document] ?? 0).filter((entry) => entry > 0);
      return { table, place, score: scores[document], why: reasons.map((entry) => explain(all, entry - 1)) };
    });
    for (const reasons of why) for (const document of found) reasons[document] = 0;
    return { words: wanted, terms: known.map(({ term: entry, said }) => ({ ...entry, said })), count: close.length, hits };
  }

  /** The documents with the highest scores, in order; only candidates for the top are sorted. */
  function bestOf(some, limit) {
    let bound = 0;
    if (some.length > 4 * limit) {
      const sample = Float32Array.from(some, (document) => scores[document]).sort();
      bound = sample[sample.length - limit];
    }
    const order = (a, b) => scores[b] - scores[a] || a - b;
    return some.filter((document) => scores[document] >= bound).sort(order).slice(0, limit);
  }

  function withAll(parts) {
    let found = null;
    for (const part of parts) {
      const here = new Set();
      for (const form of new Set([part, stem(part)])) {
        for (const entry of postings.get(form) ?? []) if ((entry & ((1 << FIELD_BITS) - 1)) === NAME) here.add(entry >> FIELD_BITS);
      }
      found = found === null ? here : new Set([...found].filter((document) => here.has(document)));
    }
    return found ?? [];
  }

  /** What was probably meant where nothing was found: terms of the glossary and words in names, nearest first. */
  function nearest(text, limit = 6) {
    const typed = words(parse(text).plain).map(stem);
    const known = catalog.glossary.flatMap((term) => [term.term, ...(term.synonyms ?? [])].map((said) => [said, words(said)]));
    const names = vocabulary.filter(({ word }) => word.length > 3 && postings.get(word).some((entry) => (entry & ((1 << FIELD_BITS) - 1)) === NAME)).map(({ word }) => [word, [word]]);
    const found = new Map();
    for (const [said, parts] of [...known, ...names]) {
      for (const part of parts.map(stem)) {
        for (const word of typed) {
          const far = Math.ceil(Math.max(part.length, word.length) / 2);
          const apart = distance(word, part, far) / Math.max(part.length, word.length);
          if (apart <= 0.5 && apart < (found.get(said) ?? 1)) found.set(said, apart);
        }
      }
    }
    return [...found].sort((a, b) => a[1] - b[1]).slice(0, limit).map(([said]) => said);
  }

  return { search, nearest, size: documents.length, vocabulary: vocabulary.length };
}

function explain(all, entry) {
  const { word, how, term, entry: glossary } = all[entry >> FIELD_BITS];
  const where = FIELDS[entry & ((1 << FIELD_BITS) - 1)].says;
  switch (how) {
    case "glossary":
      return { word, text: `“${term}” means ${word} here (glossary: ${glossary.term})` };
    case "synonym":
      return { word, text: `“${word}”, another word for “${term}”, ${where}` };
    case "placed":
      return { word, text: `The glossary points here for “${term}”${term === glossary.term.toLowerCase() ? "" : ` (${glossary.term})`}` };
    case "typo":
      return { word, text: `“${term}” read as “${word}”, ${where}` };
    case "begins":
      return { word, text: `“${term}” begins “${word}” ${where}` };
    case "inside":
      return { word, text: `“${term}” within “${word}” ${where}` };
    default:
      return { word, text: `“${word}” ${where}` };
  }
}

// owner:sales class:email tag:daily layer:marts in:tables
function parse(text) {
  const filters = [];
  const plain = text.replace(/\b(owner|class|tag|layer|in):(\S+)/gi, (_, key, value) => {
    filters.push({ key: key.toLowerCase(), value: value.toLowerCase() });
    return " ";
  });
  return { plain, filters };
}

function passes(table, place, { key, value }) {
  switch (key) {
    case "owner":
      return (table.owner ?? "").toLowerCase().includes(value);
    case "layer":
      return table.layer.startsWith(value) || layerName(table.layer).toLowerCase().startsWith(value);
    case "in":
      return value.startsWith("table") ? place < 0 : place >= 0;
    case "tag":
      return (place < 0 ? table.tags ?? [] : column(table, place).tags).some((tag) => tag.toLowerCase().startsWith(value));
    default:
      return place >= 0 && classes(column(table, place).personal).includes(value);
  }
}

/** Finds glossary terms in a query: by the term or a synonym, with typing mistakes in longer words. */
function glossaryIndex(glossary) {
  const phrases = [];
  for (const term of glossary) {
    for (const text of [term.term, ...(term.synonyms ?? [])]) phrases.push({ term, parts: words(text).map(stem) });
  }
  return {
    find(wanted) {
      const found = [];
      const stems = wanted.map(stem);
      for (const { term, parts } of phrases) {
        for (let from = 0; from + parts.length <= stems.length; from += 1) {
          const fits = parts.every((part, i) => {
            const typed = stems[from + i];
            return part === typed || (part.length > 4 && typed.length > 4 && distance(part, typed, 1) <= 1);
          });
          if (fits && !found.some((other) => other.term === term)) {
            found.push({ term, from, to: from + parts.length, said: wanted.slice(from, from + parts.length).join(" ") });
          }
        }
      }
      return found;
    },
  };
}
