// What changed since the last published version.

import { h, number, plural, when } from "./dom.js";
import { link } from "./data.js";

const LOOKS = { added: "pass", removed: "fail", changed: "warn" };

export function changesPage(catalog) {
  const { changes } = catalog;
  if (!changes) {
    return [h("h1", {}, "Changes"), h("p", { class: "lead" }, "Nothing has been published yet. After ", h("code", {}, "sluice publish"), " this page shows what is new.")];
  }
  return [
    h("h1", {}, "Changes"),
    h("p", { class: "lead" }, `Since version ${changes.version}, published ${when(changes.at)}${changes.commit ? ` from commit ${changes.commit.slice(0, 8)}${changes.commit.endsWith("+") ? " and what was not committed" : ""}` : ""}.`),
    changes.tables.length ? h("ul", { class: "changes" }, changes.tables.map((change) => item(catalog, change))) : h("p", {}, "The warehouse equals the published version."),
    changes.last ? h("section", {}, h("h2", {}, "Changes in that version"), h("p", { class: "muted" }, `Compared with version ${changes.last.before}.`), changes.last.tables.length ? h("ul", { class: "changes" }, changes.last.tables.map((change) => item(catalog, change))) : h("p", {}, "None: readers see the same rows.")) : null,
  ];
}

function item(catalog, change) {
  const index = catalog.find(change.table);
  const name = index === undefined ? h("span", { class: "name" }, change.table) : h("a", { href: link(catalog.tables[index]), class: "name" }, change.table);
  const rows = change.rowsBefore !== undefined && change.rowsNow !== undefined && change.rowsBefore !== change.rowsNow ? `${number(change.rowsBefore)} → ${number(change.rowsNow)} rows` : null;
  return h("li", {}, h("p", {}, name, " ", h("span", { class: `state ${LOOKS[change.what]}` }, change.what), rows ? h("span", { class: "muted" }, ` ${rows}`) : null),
    change.notes?.length ? h("ul", {}, change.notes.map((note) => h("li", {}, note))) : null);
}

/** The summary on the first page. */
export function changeSummary({ changes }) {
  const tables = changes?.tables ?? [];
  if (!tables.length) return null;
  const count = (what) => tables.filter((change) => change.what === what).length;
  const parts = ["added", "changed", "removed"].filter(count).map((what) => `${count(what)} ${what}`);
  return h("section", {}, h("h2", {}, "Since the last published version"), h("p", {}, `${plural(tables.length, "table")} ${tables.length === 1 ? "differs" : "differ"}: ${parts.join(", ")}. `, h("a", { href: "#/changes" }, "See the changes")));
}
