// The page of search results, drawn again at every key.

import { h, plural, show, say } from "./dom.js";
import { link, lineageLink } from "./data.js";
import { inline, layerTag, personalTag, testBadge, kindName } from "./components.js";

const PAGE = 40;
let announce;

export function resultsPage(catalog, text, main) {
  const begun = performance.now();
  const found = catalog.index().search(text, PAGE);
  draw(catalog, text, found, main);
  performance.measure("catalog-search", { start: begun, end: performance.now() });
  clearTimeout(announce);
  announce = setTimeout(() => say(found.count ? plural(found.count, "hit") : "no hit"), 400);
}

function draw(catalog, text, found, main) {
  const list = h("ol", { class: "hits" }, found.hits.map((hit) => item(catalog, hit)));
  list.addEventListener("keydown", (event) => arrows(event, list));
  const narrowed = /\bin:(tables|columns)\b/.exec(text)?.[1];
  const choice = (title, value) => {
    const query = `${text.replace(/\s*\bin:\S+/g, "")}${value ? ` in:${value}` : ""}`;
    return h("a", { href: `#/search?q=${encodeURIComponent(query)}`, class: "chip", "aria-current": narrowed === value ? "true" : null }, title);
  };
  show(main,
    h("h1", { class: "visually-hidden" }, "Search"),
    found.terms.map((term) => glossaryCard(catalog, term)),
    h("div", { class: "bar" },
      h("p", { class: "muted" }, found.count ? plural(found.count, "hit") : ""),
      h("p", {}, choice("Everything", undefined), choice("Tables", "tables"), choice("Columns", "columns"))),
    found.count ? list : nothing(catalog, text),
    found.count > found.hits.length ? more(catalog, text, main) : null);
}

function more(catalog, text, main) {
  const button = h("button", { type: "button" }, "Show all");
  button.addEventListener("click", () => draw(catalog, text, catalog.index().search(text, 1000), main));
  return button;
}

function nothing(catalog, text) {
  const near = catalog.index().nearest(text);
  const terms = near.length ? near : catalog.glossary.slice(0, 9).map((term) => term.term);
  return h("div", { class: "empty" },
    h("p", {}, "Nothing matches ", h("strong", {}, text.trim() || "that"), "."),
    terms.length ? h("p", {}, h("span", { class: "muted" }, near.length ? "Nearest: " : "Words people use: "), terms.map((term) => h("a", { class: "chip", href: `#/search?q=${encodeURIComponent(term)}` }, term))) : null,
    h("p", { class: "muted" }, "Try another word, part of a word, or narrow the search by ", h("code", {}, "owner:"), ", ", h("code", {}, "class:email"), ", ", h("code", {}, "tag:"), " or ", h("code", {}, "layer:marts"), ". Business words are defined in docs/glossary.yml."));
}

function glossaryCard(catalog, term) {
  return h("section", { class: "term", "aria-label": `Glossary: ${term.term}` },
    h("p", {}, h("strong", {}, term.term), term.said !== term.term.toLowerCase() ? h("span", { class: "muted" }, ` (you wrote ${term.said})`) : null, ": ", inline(term.meaning)),
    term.synonyms?.length ? h("p", { class: "muted" }, `Also called ${term.synonyms.join(", ")}.`) : null);
}

function item(catalog, { table: index, place, why }) {
  const table = catalog.tables[index];
  const marked = why.filter((reason) => reason.text.endsWith("in the name")).map((reason) => reason.word);
  if (place < 0) {
    return h("li", { class: "hit table" },
      h("p", {}, h("a", { href: link(table), class: "name" }, mark(table.name, marked)), " ", layerTag(table), " ", table.kind === "exposure" ? null : testBadge(table, false)),
      h("p", {}, inline(table.about ?? "")),
      reasons(why, table.owner ? `owned by ${table.owner}` : kindName(table)));
  }
  const [name, type, about, personal] = table.columns[place];
  return h("li", { class: "hit" },
    h("p", {}, h("a", { href: link(table, place), class: "name" }, h("span", { class: "of" }, `${table.name}.`), mark(name, marked)), " ", layerTag(table), " ", personalTag(personal)),
    about ? h("p", {}, inline(about)) : null,
    reasons(why, type, h("a", { href: lineageLink(table, place) }, "lineage")));
}

function reasons(why, ...facts) {
  const texts = [...new Set(why.map((reason) => reason.text))];
  return h("p", { class: "why" }, [...texts, ...facts].map((text, i) => [i ? " · " : "", text]));
}

function mark(name, found) {
  const lower = name.toLowerCase();
  const word = found.find((candidate) => lower.includes(candidate));
  if (!word) return name;
  const from = lower.indexOf(word);
  return [name.slice(0, from), h("mark", {}, name.slice(from, from + word.length)), name.slice(from + word.length)];
}

function arrows(event, list) {
  const links = [...list.querySelectorAll("a.name")];
  const here = links.indexOf(document.activeElement);
  if (event.key === "ArrowDown" && here >= 0) links[Math.min(here + 1, links.length - 1)].focus();
  else if (event.key === "ArrowUp" && here > 0) links[here - 1].focus();
  else if (event.key === "ArrowUp") document.getElementById("query").focus();
  else return;
  event.preventDefault();
}
