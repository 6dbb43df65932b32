// Tables as entities and their references as edges, taken from relationships tests.

import { h } from "./dom.js";
import { VALUE, layerName, link } from "./data.js";
import { drawGraph } from "./graph.js";
import { tableLink } from "./components.js";

export function entitiesPage(catalog, chosenLayer) {
  const inLayer = (layer) => catalog.relations.filter((r) => catalog.tables[r.from].layer === layer && catalog.tables[r.to].layer === layer);
  const layers = [...catalog.layers].reverse().filter((layer) => inLayer(layer).length);
  const layer = layers.includes(chosenLayer) ? chosenLayer : layers[0];
  if (!layer) return [h("h1", {}, "Entities"), h("p", { class: "muted" }, "There are no relationships tests yet: add some to see which table refers to which.")];
  const relations = inLayer(layer);
  const ids = [...new Set(relations.flatMap((r) => [r.from, r.to]))];
  const shown = ids.slice(0, 60);
  const rows = new Map(shown.map((t) => [t, new Map()]));
  for (const r of relations) {
    rows.get(r.from)?.set(r.column, `${r.one ? "1" : "n"} → 1`);
    if (!rows.get(r.to)?.has(r.key)) rows.get(r.to)?.set(r.key, "key");
  }
  const cards = shown.map((t) => {
    const table = catalog.tables[t];
    const place = new Map(table.columns.map((c, i) => [c[0].toLowerCase(), i]));
    return {
      key: `t${t}`, title: table.name, note: table.grain ?? table.about ?? "", layer: table.layer, href: link(table),
      rows: [...rows.get(t)].sort(([, a], [, b]) => (b === "key") - (a === "key")).map(([name, mark]) => ({ id: `${t}.${name}`, text: name, mark, table, place: place.get(name.toLowerCase()) })),
    };
  });
  const wires = relations.filter((r) => rows.has(r.from) && rows.has(r.to) && r.from !== r.to).map((r) => ({ from: [`t${r.from}`, `${r.from}.${r.column}`], to: [`t${r.to}`, `${r.to}.${r.key}`], type: VALUE }));
  return h("article", { class: "lineage-page" },
    h("h1", {}, "Entities"),
    h("p", { class: "lead" }, "Which table refers to which, according to relationships tests. Arrows point from many to one."),
    h("p", {}, layers.map((name) => h("a", { class: "chip", href: `#/entities/${name}`, "aria-current": name === layer ? "true" : null }, layerName(name)))),
    drawGraph(cards, wires, { label: "Entities and their references; the list below has the same content.", onRow: (row) => row.place !== undefined && (location.hash = link(row.table, row.place)) }),
    h("section", {}, h("h2", {}, "As a list"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "References" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Table", "Column", "Refers to", "Rows", "Tested"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, relations.map((r) => h("tr", {}, h("td", {}, tableLink(catalog.tables[r.from])), h("td", {}, h("code", {}, r.column)), h("td", {}, tableLink(catalog.tables[r.to]), ".", h("code", {}, r.key)), h("td", {}, r.one ? "one to one" : "many to one"), h("td", {}, { pass: "holds", fail: "broken", unknown: "not run yet" }[r.state] ?? r.state))))))));
}
