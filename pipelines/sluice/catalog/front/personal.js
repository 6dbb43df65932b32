// Which columns are personal, and where their values go.

import { h, plural } from "./dom.js";
import { ROWS, classes, layerName, lineageLink, link } from "./data.js";
import { valueFlow } from "./closure.js";
import { columnLink, seenBy, tableLink } from "./components.js";

export function personalPage(catalog) {
  const { tables } = catalog;
  const found = [];
  for (const table of tables) table.columns.forEach((c, place) => c[3] && found.push({ table, place, personal: c[3] }));
  const starts = found.filter(({ table, personal }) => table.kind === "source" || table.kind === "seed" ? !/^[~?]/.test(personal) : false);
  const marts = found.filter(({ table }) => table.layer === "marts");
  const kinds = [...new Set(starts.flatMap(({ personal }) => classes(personal).split(", ")))].sort();
  if (!found.length) return [h("h1", {}, "Personal data"), h("p", { class: "lead" }, "No column has a data class.")];
  return [
    h("h1", {}, "Personal data"),
    h("p", { class: "lead" }, `${plural(starts.length, "field")} of the sources ${starts.length === 1 ? "is" : "are"} personal. Their values reach ${plural(found.length - starts.length, "more column")}, ${marts.length} of them in marts. This catalog contains none of these values.`),
    h("section", {}, h("h2", {}, "In marts, and how each audience sees them"), marts.length ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Personal columns of marts" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Column", "Class", ...catalog.audiences.map(({ name }) => name)].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, marts.map(({ table, place, personal }) => h("tr", {}, h("td", {}, columnLink(table, place)), h("td", {}, words(personal)), seenBy(catalog, table, table.columns[place][0]).map(([, how]) => h("td", { class: how.startsWith("not") ? "muted" : null }, how)))))) ) : h("p", { class: "muted" }, "No personal data reaches a mart.")),
    kinds.map((kind) => h("section", {}, h("h2", {}, kind[0].toUpperCase() + kind.slice(1).replace(/_/g, " ")),
      h("ul", { class: "paths" }, starts.filter(({ personal }) => classes(personal).split(", ").includes(kind)).map((start) => path(catalog, start))))),
  ];
}

const words = (personal) => (personal.startsWith("~") ? `derived from ${classes(personal)}` : personal.startsWith("?") ? `possibly ${classes(personal)}` : personal);

function path(catalog, { table, place }) {
  const reached = valueFlow(catalog, catalog.id(table.index, place)).slice(1).map((id) => catalog.place(id));
  const byLayer = catalog.layers.map((layer) => [layer, reached.filter(([t]) => catalog.tables[t].layer === layer)]).filter(([, list]) => list.length);
  return h("li", {},
    h("div", { class: "start" }, columnLink(table, place), " ", h("a", { class: "action", href: lineageLink(table, place) }, "lineage")),
    byLayer.length ? h("ol", { class: "steps" }, byLayer.map(([layer, list]) => h("li", {}, h("span", { class: `layer l-${layer}` }, layerName(layer)), " ", list.map(([t, c], i) => [i ? ", " : "", c === ROWS ? tableLink(catalog.tables[t]) : h("a", { href: link(catalog.tables[t], c) }, `${catalog.tables[t].name}.${catalog.tables[t].columns[c][0]}`)])))) : h("p", { class: "muted" }, "Not used."));
}
