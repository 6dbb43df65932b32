// The first page: what the warehouse holds, whether it can be trusted today, and where to start.

import { h, number, plural, short, time, when } from "./dom.js";
import { freshness, isBroken, isLate, layerName, link, testState } from "./data.js";
import { buildBadge, freshnessBadge, tableLink, testBadge, inline } from "./components.js";
import { changeSummary } from "./changes.js";

const FEW = 5;

export function homePage(catalog) {
  const { tables, project } = catalog;
  const marts = usable(tables);
  const sources = count(tables, "source");
  const systems = new Set(tables.filter((t) => t.kind === "source").map((t) => t.domain)).size;
  const reports = tables.filter((t) => t.kind === "exposure");
  return [
    h("section", { class: "hero" },
      h("h1", {}, "What is in the warehouse"),
      h("p", { class: "lead" }, `${plural(marts.length, "table")} to use${sources ? `, built from ${plural(sources, "source table")} of ${plural(systems, "system")}` : ""}. Built ${when(project.builtAt)}.`),
      words(catalog)),
    attention(catalog),
    flow(catalog),
    h("section", {}, h("h2", {}, "Tables to use"), byDomain(marts)),
    reports.length ? h("section", {}, h("h2", {}, "Reports built on them"), h("ul", { class: "cards" }, reports.map(report))) : null,
    changeSummary(catalog),
  ];
}

/** The marts; in a project that has none, all models. */
function usable(tables) {
  const marts = tables.filter((t) => t.layer === "marts");
  return marts.length ? marts : tables.filter((t) => t.kind === "model");
}

const count = (tables, kind) => tables.filter((t) => t.kind === kind).length;

function words(catalog) {
  if (!catalog.glossary.length) return null;
  return h("p", { class: "words" }, h("span", { class: "muted" }, "Start with: "),
    catalog.glossary.slice(0, 9).map((term) => h("a", { class: "chip", href: `#/search?q=${encodeURIComponent(term.term)}` }, term.term)));
}

function attention({ tables }) {
  // Marts come first: people ask about what they use.
  const failing = tables.filter((t) => testState(t) === "fail").sort((a, b) => (b.layer === "marts") - (a.layer === "marts"));
  const late = tables.filter(isLate);
  const broken = tables.filter(isBroken);
  if (!failing.length && !late.length && !broken.length) return calm(tables);
  return h("section", { class: "attention", "aria-labelledby": "attention" },
    h("h2", { id: "attention" }, "Needs attention"),
    h("ul", {},
      broken.slice(0, FEW).map((t) => h("li", {}, tableLink(t), " ", buildBadge(t))),
      failing.slice(0, FEW).map((t) => h("li", {}, h("a", { href: `${link(t)}?tests`, class: "name" }, t.name), " ", testBadge(t))),
      late.slice(0, FEW).map((t) => h("li", {}, tableLink(t), " ", freshnessBadge(t), t.loadedAt ? h("span", { class: "muted" }, ", loaded ", time(t.loadedAt)) : null)),
      Math.max(broken.length, failing.length, late.length) > FEW ? h("li", {}, h("a", { href: "#/checks" }, `all ${broken.length + failing.length + late.length}`)) : null));
}

/** Says that all is well, and of nothing that nobody looked at. */
function calm(tables) {
  const states = new Set(tables.map(testState));
  const tests = states.has("unknown") ? (tables.some((t) => t.tests.pass) ? "No test fails, but not all of them ran" : "No test ran yet") : states.has("warn") ? "No test fails, but some warn" : states.has("pass") ? "All tests pass" : "There are no tests";
  const well = tests === "All tests pass";
  const sources = tables.filter((t) => t.kind === "source");
  const watched = sources.filter((t) => freshness(t)).length;
  const fresh = watched ? `${well ? " and" : ";"} all sources ${watched < sources.length ? "whose age is known " : ""}are fresh` : "";
  return h("p", { class: "calm" }, h("span", { class: `state ${well ? "pass" : "unknown"}` }, h("span", { class: "mark", "aria-hidden": "true" }, well ? "✓" : "?")), ` ${tests}${fresh}.`);
}

function flow({ tables, layers }) {
  const steps = layers.filter((layer) => layer !== "seed" && layer !== "utilities" && layer !== "snapshot");
  return h("section", {}, h("h2", {}, "How it is built"),
    h("ol", { class: "flow" }, steps.map((layer) => {
      const inside = tables.filter((t) => t.layer === layer);
      const failing = inside.filter((t) => testState(t) === "fail").length;
      return h("li", {}, h("a", { href: "#/layers", class: `l-${layer}` },
        h("span", { class: "figure" }, number(inside.length)),
        h("span", {}, layerName(layer)),
        failing ? h("span", { class: "state fail" }, `${failing} failing`) : null));
    })));
}

function byDomain(marts) {
  const domains = [...new Set(marts.map((t) => t.domain ?? ""))].sort();
  // Hundreds of marts belong into the search and the layers page; this page stays short.
  return domains.slice(0, 12).map((domain) => {
    const inside = marts.filter((t) => (t.domain ?? "") === domain);
    return h("div", { class: "domain" }, domain ? h("h3", {}, domain[0].toUpperCase() + domain.slice(1)) : null,
      h("ul", { class: "cards" }, inside.slice(0, 12).map(card)),
      inside.length > 12 ? h("p", {}, h("a", { href: `#/search?q=${encodeURIComponent(`layer:marts ${domain}`)}` }, `all ${inside.length} tables`)) : null);
  });
}

function card(table) {
  return h("li", {},
    h("a", { href: link(table), class: "name" }, table.name),
    h("p", {}, inline(table.about ?? "")),
    h("p", { class: "facts" }, testBadge(table), table.rows !== undefined ? h("span", {}, `${short(table.rows)} rows`) : null, table.owner ? h("span", {}, table.owner) : null));
}

function report(table) {
  return h("li", {},
    h("a", { href: link(table), class: "name" }, table.name),
    h("p", {}, inline(table.about ?? "")),
    h("p", { class: "facts" }, table.owner ? h("span", {}, table.owner) : null, table.maturity ? h("span", {}, `${table.maturity} maturity`) : null));
}
