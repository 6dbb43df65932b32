// Components that several pages share.

import { h, plural } from "./dom.js";
import { KIND_NAMES, freshness, isBroken, layerName, link, lineageLink, testState, classes } from "./data.js";

const STATES = {
  fail: ["✕", "tests fail"],
  warn: ["!", "tests warn"],
  pass: ["✓", "tests pass"],
  unknown: ["?", "tests not run yet"],
  none: ["–", "no tests"],
};

/** The state of a table's tests as a mark and a text. */
export function testBadge(table, withWords = true) {
  const state = testState(table);
  const [mark, text] = STATES[state];
  const failing = table.tests.fail ?? 0;
  const words = state === "fail" ? `${plural(failing, "test")} ${failing === 1 ? "fails" : "fail"}` : state === "unknown" && table.tests.pass ? "not all tests ran" : text;
  return h("span", { class: `state ${state}`, title: words }, h("span", { class: "mark", "aria-hidden": "true" }, mark), withWords ? ` ${words}` : h("span", { class: "visually-hidden" }, words));
}

export function stateMark(state) {
  const known = { fail: "✕", error: "✕", "runtime error": "✕", warn: "!", pass: "✓", success: "✓", skipped: "–", unknown: "?" };
  return h("span", { class: `state ${["error", "runtime error"].includes(state) ? "fail" : state === "success" ? "pass" : state}` }, h("span", { class: "mark", "aria-hidden": "true" }, known[state] ?? "?"));
}

export function freshnessBadge(table) {
  const state = freshness(table);
  if (!state) return null;
  const look = { fresh: "pass", stale: "warn", expired: "fail", failed: "fail", "never loaded": "unknown" }[state];
  return h("span", { class: `state ${look}` }, h("span", { class: "mark", "aria-hidden": "true" }, look === "pass" ? "✓" : "!"), ` ${state === "failed" ? "last load failed" : state}`);
}

/** What became of the last build, where that is worth a word. */
export function buildBadge(table) {
  if (!isBroken(table)) return null;
  return h("span", { class: "state fail" }, h("span", { class: "mark", "aria-hidden": "true" }, "✕"), table.builtAs === "skipped" ? " skipped in the last build" : " last build failed");
}

export const layerTag = (table) => h("span", { class: `layer l-${table.layer}` }, table.kind === "exposure" ? table.type ?? "report" : layerName(table.layer));

export const tableLink = (table, attributes = {}) => h("a", { href: link(table), class: "name", ...attributes }, table.name);

export const columnLink = (table, place, withTable = true) =>
  h("a", { href: link(table, place), class: "name" }, withTable ? h("span", { class: "of" }, `${table.name}.`) : null, table.columns[place][0]);

export const toLineage = (table, place, text = "Lineage") => h("a", { href: lineageLink(table, place), class: "action" }, text);

/** `email`, or `derived from email` for columns that only get their value from one. */
export function personalTag(personal) {
  if (!personal) return null;
  const made = personal.startsWith("~") ? "derived from " : personal.startsWith("?") ? "possibly " : "";
  return h("span", { class: "personal", title: "Personal data: its values are not shown in this catalog" }, `${made}${classes(personal)}`);
}

export const kindName = (table) => (table.kind === "exposure" ? table.type ?? "report" : KIND_NAMES[table.kind]);

/** Text with **bold**, `code`, paragraphs, lists and small tables; nothing else is interpreted. */
export function prose(text) {
  const blocks = text.replace(/\r/g, "").split(/\n\s*\n/);
  return blocks.map((block) => {
    const lines = block.split("\n").filter((line) => line.trim());
    if (lines.length && lines.every((line) => /^\s*[-*] /.test(line))) {
      return h("ul", {}, lines.map((line) => h("li", {}, inline(line.replace(/^\s*[-*] /, "")))));
    }
    return h("p", {}, inline(block));
  });
}

export function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.startsWith("**") && part.endsWith("**") && part.length > 4) return h("strong", {}, part.slice(2, -2));
    if (part.startsWith("`") && part.endsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    return part;
  });
}

/** SQL with highlighted keywords, strings and comments, and a button that copies it. */
export function sqlBlock(sql, label) {
  const copy = h("button", { type: "button", class: "quiet copy" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(sql);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  return h("div", { class: "sql" }, copy, h("pre", { tabindex: "0", role: "region", "aria-label": label }, h("code", {}, highlight(sql))));
}

const SQL = /(--[^\n]*|\{#[\s\S]*?#\}|\/\*[\s\S]*?\*\/)|('(?:[^']|'')*')|(\{\{[\s\S]*?\}\}|\{%[\s\S]*?%\})|\b(select|from|where|with|as|join|left|right|full|inner|outer|cross|on|using|group|order|by|having|qualify|union|all|distinct|case|when|then|else|end|and|or|not|in|is|null|between|like|over|partition|limit|cast|filter|exists|values|asc|desc|true|false|interval|unnest|lateral|exclude|replace|recursive)\b/gi;

function highlight(sql) {
  const parts = [];
  let last = 0;
  for (const match of sql.matchAll(SQL)) {
    parts.push(sql.slice(last, match.index));
    const look = match[1] ? "comment" : match[2] ? "string" : match[3] ? "jinja" : "word";
    parts.push(h("span", { class: look }, match[0]));
    last = match.index + match[0].length;
  }
  parts.push(sql.slice(last));
  return parts;
}

/** How an audience sees the values of a personal column. */
export const TREATMENTS = {
  clear: "in clear",
  hash: "hashed",
  partial: "partly masked",
  generalise: "generalised",
  null: "not at all (empty)",
  undecided: "not at all (it needs a data class)",
  absent: "not at all (not published)",
};

/** [audience, how it sees a personal column of a table], of all audiences: those that are not granted see nothing. */
export const seenBy = (catalog, table, name) => catalog.audiences.map((audience) => [audience.name, TREATMENTS[table.seen?.[audience.name]?.[name]] ?? "not at all"]);
