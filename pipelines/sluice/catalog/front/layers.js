// The whole project as layers, from the sources to the reports.

import { h, plural } from "./dom.js";
import { isBroken, layerName, link, testState, freshness } from "./data.js";

const FEW = 60; // a layer with more tables starts with its folders closed

export function layersPage(catalog) {
  // Small layers stand below the layer they belong to, so that all fit on one screen.
  const below = { seed: "source", utilities: "intermediate", snapshot: "intermediate" };
  const columns = catalog.layers.filter((layer) => !catalog.layers.includes(below[layer]));
  const grid = h("div", { class: "layers" }, columns.map((layer) => h("div", {}, [layer, ...catalog.layers.filter((other) => below[other] === layer)].map((one) => layerColumn(catalog, one)))));
  grid.addEventListener("mouseover", (event) => trace(catalog, grid, event.target.closest("a[data-table]")));
  grid.addEventListener("focusin", (event) => trace(catalog, grid, event.target.closest("a[data-table]")));
  grid.addEventListener("mouseleave", () => trace(catalog, grid, null));
  return [
    h("h1", {}, "Layers"),
    h("p", { class: "lead" }, "Data flows from left to right. Point at a table, or move to it with the keyboard, to see what it is built from and what is built from it."),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Layers of the project" }, grid),
  ];
}

function layerColumn(catalog, layer) {
  const tables = catalog.tables.filter((t) => t.layer === layer);
  const domains = [...new Set(tables.map((t) => t.domain ?? ""))].sort();
  const closed = tables.length > FEW;
  return h("section", { class: `l-${layer}`, "aria-label": layerName(layer) },
    h("h2", {}, layerName(layer), h("span", { class: "muted" }, ` ${tables.length}`)),
    domains.map((domain) => {
      const inside = tables.filter((t) => (t.domain ?? "") === domain).sort((a, b) => a.name.localeCompare(b.name));
      const list = () => h("ul", {}, inside.map(entry));
      if (!closed) return [domain && layer !== "exposure" ? h("h3", {}, domain) : null, list()];
      const folder = h("details", {}, h("summary", {}, domain || layer, h("span", { class: "muted" }, ` ${plural(inside.length, "table")}`)));
      folder.addEventListener("toggle", () => folder.querySelector("ul") ?? folder.append(list()), { once: true });
      return folder;
    }));
}

function entry(table) {
  const bad = isBroken(table) ? ["✕", "last build failed"] : testState(table) === "fail" ? ["✕", "tests fail"] : ["stale", "expired", "failed"].includes(freshness(table)) ? ["!", freshness(table) === "failed" ? "load failed" : freshness(table)] : null;
  // Show only the distinctive part of the name: `orders` of `crm.orders` and of `stg_crm__orders`.
  const name = table.kind === "source" ? table.name.split(".").slice(1).join(".") : table.name.replace(/^stg_[a-z0-9]+__/, "");
  return h("li", {}, h("a", { href: link(table), "data-table": table.index, title: table.about ?? table.name }, name, bad ? h("span", { class: "state fail" }, h("span", { "aria-hidden": "true" }, ` ${bad[0]}`), h("span", { class: "visually-hidden" }, ` ${bad[1]}`)) : null));
}

function trace(catalog, grid, element) {
  const start = element ? Number(element.dataset.table) : null;
  const found = new Set();
  if (start !== null) {
    for (const next of [(t) => catalog.tables[t].parents, (t) => catalog.children[t]]) {
      const pending = [start];
      const seen = new Set(pending);
      while (pending.length) for (const t of next(pending.pop())) if (!seen.has(t)) seen.add(t) && pending.push(t);
      for (const t of seen) found.add(t);
    }
  }
  grid.classList.toggle("traced", start !== null);
  for (const a of grid.querySelectorAll("a[data-table]")) a.classList.toggle("on", found.has(Number(a.dataset.table)));
}
