// The page of lineage: a column from its field in the source system to the report, or a table among its neighbours.

import { h, plural } from "./dom.js";
import { ROWS, UNKNOWN, VALUE, layerName, lineageLink, link } from "./data.js";
import { around, reach, tablesAround } from "./closure.js";
import { drawGraph, fit } from "./graph.js";
import { kindName, layerTag, personalTag, tableLink } from "./components.js";
import { kindWords } from "./table.js";

const DEPTHS = [
  ["values", "Values only"],
  ["near", "With influences"],
  ["all", "All influences"],
];
let chosen = "values"; // a few values are lost among hundreds of influences
const MOST = 400; // above this many columns a graph explains nothing any more; the lists still do

export function lineagePage(catalog, table, name) {
  const place = name === undefined ? ROWS : table.columns.findIndex((c) => c[0].toLowerCase() === name.toLowerCase());
  return name !== undefined && place >= 0 ? columnPage(catalog, table, place) : tablePage(catalog, table);
}

function columnPage(catalog, table, place) {
  const start = catalog.id(table.index, place);
  const body = h("div", { class: "lineage-body" });
  const choose = h("div", { class: "choices", role: "group", "aria-label": "Edges shown" }, DEPTHS.map(([depth, title]) => {
    const button = h("button", { type: "button", class: "chip", "aria-pressed": depth === chosen ? "true" : "false" }, title);
    button.addEventListener("click", () => {
      chosen = depth;
      for (const other of choose.children) other.setAttribute("aria-pressed", other === button ? "true" : "false");
      draw();
    });
    return button;
  }));
  function draw() {
    const found = around(catalog, start, chosen);
    body.replaceChildren(...pictureAndList(catalog, start, found));
    fit(body.querySelector(".graph"));
  }
  draw();
  requestAnimationFrame(() => fit(body.querySelector(".graph")));
  const [column, type, about, personal] = table.columns[place];
  return h("article", { class: "lineage-page" },
    h("p", { class: "crumbs" }, layerTag(table), " ", tableLink(table)),
    h("h1", {}, h("span", { class: "of" }, "Lineage of "), column),
    h("p", { class: "lead" }, about ?? "", " ", personalTag(personal)),
    h("div", { class: "bar" }, legend(), choose),
    body);
}

function legend() {
  return h("ul", { class: "legend" },
    h("li", {}, h("span", { class: "line value", "aria-hidden": "true" }), "value: content is passed on (OpenLineage: direct)"),
    h("li", {}, h("span", { class: "line influence", "aria-hidden": "true" }), "influence: decides which rows or values exist (OpenLineage: indirect)"));
}

function pictureAndList(catalog, start, { ids, edges }) {
  const [focusTable] = catalog.place(start);
  const rowsOf = new Map();
  for (const id of ids) {
    const [t, place] = catalog.place(id);
    if (!rowsOf.has(t)) rowsOf.set(t, []);
    // The rows of a report are the report itself.
    if (!(place === ROWS && catalog.tables[t].kind === "exposure")) rowsOf.get(t).push([place, id]);
  }
  const values = new Set(edges.filter((e) => e.type === VALUE).flatMap((e) => [e.source, e.target]));
  const cards = [...rowsOf].map(([t, rows]) => {
    const table = catalog.tables[t];
    return {
      key: `t${t}`,
      title: table.name,
      note: table.kind === "source" ? table.origin ?? "source" : table.kind === "exposure" ? `${table.type ?? "report"}${table.owner ? `, ${table.owner}` : ""}` : layerName(table.layer).toLowerCase(),
      layer: table.layer,
      href: link(table),
      focus: t === focusTable,
      rows: rows.sort(([a], [b]) => a - b).map(([place, id]) => ({
        id,
        text: place === ROWS ? "which rows exist" : table.columns[place][0],
        title: place === ROWS ? `Rows of ${table.name}` : `${table.name}.${table.columns[place][0]}: ${table.columns[place][2] ?? ""}`,
        look: place === ROWS ? "rows" : values.has(id) || id === start ? "" : "faint",
        focus: id === start,
        table,
        place,
        mark: place !== ROWS && table.columns[place][3] ? "personal" : null,
      })),
    };
  });
  const end = (id) => {
    const [t, place] = catalog.place(id);
    return [`t${t}`, place === ROWS && catalog.tables[t].kind === "exposure" ? undefined : id];
  };
  const wires = edges.map((edge) => ({ from: end(edge.source), to: end(edge.target), type: edge.type, kind: edge.kind }));
  const parts = [];
  if (ids.size <= MOST) {
    parts.push(drawGraph(cards, wires, {
      label: "Lineage graph; arrow keys move along it, Enter follows a column. The lists below have the same content.",
      onRow: (row) => (location.hash = lineageLink(row.table, row.place)),
    }));
    parts.push(h("p", { class: "muted hint" }, "Arrow keys move along the edges, Enter follows a column, the name of a table opens its page."));
  } else parts.push(h("p", { class: "muted" }, `${plural(ids.size, "column")} are too many for a graph; the lists below show them all.`));
  parts.push(h("div", { class: "ways" }, list(catalog, start, "into", "Where it comes from"), list(catalog, start, "outOf", "Where it goes")));
  return parts;
}

/** The graph as lists, nearest first: for screen readers, phones and copying. Values come first, influences apart. */
function list(catalog, start, direction, title) {
  const { values, influences } = reach(catalog, start, direction, chosen === "all" ? "all" : "near");
  const entry = ({ id, type, kind }) => {
    const [t, place] = catalog.place(id);
    const table = catalog.tables[t];
    return h("li", {},
      place === ROWS ? [tableLink(table), h("span", { class: "muted" }, table.kind === "exposure" ? "" : " (its rows)")] : h("a", { href: lineageLink(table, place), class: "name" }, h("span", { class: "of" }, `${table.name}.`), table.columns[place][0]),
      h("span", { class: "muted" }, type === VALUE ? ` ${kindWords(kind)}` : type === UNKNOWN ? " possibly" : "", table.kind === "source" && table.origin ? `, ${table.origin}` : ""), " ",
      place === ROWS ? null : personalTag(table.columns[place][3]));
  };
  const sources = values.filter(({ id }) => catalog.tables[catalog.place(id)[0]].kind === "source").length;
  const kinds = Map.groupBy(influences, ({ kind }) => kindWords(kind));
  return h("section", { class: `list ${direction}` }, h("h2", {}, title),
    values.length ? h("ol", {}, values.map(entry)) : h("p", { class: "muted" }, "No other column."),
    direction === "into" && sources ? h("p", { class: "muted" }, `${plural(sources, "field")} of a source system at its origin.`) : null,
    influences.length ? h("details", { class: "influenced" },
      h("summary", {}, `${direction === "into" ? "Influenced by" : "Influences"} ${plural(influences.length, "column")}: ${[...kinds.keys()].join(", ")}`),
      [...kinds].map(([kind, some]) => [h("h3", {}, kind), h("ol", { class: "influences" }, some.slice(0, 200).map(entry), some.length > 200 ? h("li", { class: "muted" }, `and ${some.length - 200} more`) : null)])) : null);
}

function tablePage(catalog, table) {
  let steps = 2;
  const body = h("div", {});
  const count = tablesAround(catalog, table.index, 99).size;
  const draw = () => {
    const found = tablesAround(catalog, table.index, steps);
    const cards = [...found].map((t) => {
      const other = catalog.tables[t];
      return { key: `t${t}`, title: other.name, note: other.kind === "source" ? other.origin ?? "source" : kindName(other) === "model" ? layerName(other.layer).toLowerCase() : kindName(other), layer: other.layer, href: t === table.index ? link(other) : lineageLink(other), focus: t === table.index, rows: [] };
    });
    const wires = [...found].flatMap((t) => catalog.tables[t].parents.filter((p) => found.has(p)).map((p) => ({ from: [`t${p}`], to: [`t${t}`], type: VALUE })));
    body.replaceChildren(drawGraph(cards, wires, { label: "Tables around this one; the name of a table opens its lineage." }),
      found.size < count ? more() : "");
    fit(body.querySelector(".graph"));
  };
  const more = () => {
    const button = h("button", { type: "button" }, `Show all ${count} connected tables`);
    button.addEventListener("click", () => ((steps = 99), draw()));
    return button;
  };
  draw();
  requestAnimationFrame(() => fit(body.querySelector(".graph")));
  return h("article", { class: "lineage-page" },
    h("p", { class: "crumbs" }, layerTag(table)),
    h("h1", {}, h("span", { class: "of" }, "Lineage of "), table.name),
    table.columns.length ? h("section", {}, h("h2", {}, "Follow a column"), h("p", { class: "chips" }, table.columns.map((c, i) => h("a", { class: "chip", href: lineageLink(table, i) }, c[0])))) : null,
    h("section", {}, h("h2", {}, "Neighbouring tables"), body),
    h("p", {}, h("a", { href: link(table) }, `The page of ${table.name}`)));
}
