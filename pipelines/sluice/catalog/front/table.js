// Everything known about one table.

import { h, number, percent, plural, short, time, when, bytes } from "./dom.js";
import { ROWS, column, freshness, lineageLink, link } from "./data.js";
import { TREATMENTS, buildBadge, columnLink, freshnessBadge, inline, layerTag, personalTag, prose, seenBy, sqlBlock, stateMark, tableLink, testBadge, toLineage } from "./components.js";
import { profileFigure, spark, timeline, trendFigure } from "./charts.js";

export async function tablePage(catalog, table, opened) {
  const details = await catalog.details(table.index);
  const sections = [
    ["about", "About", about(catalog, table, details)],
    ["content", "Content", content(details)],
    ["columns", `Columns`, columns(catalog, table, details, opened)],
    ["tests", "Tests", tests(catalog, table, details)],
    ["loads", table.kind === "source" ? "Loads and rows" : "Rows over time", loads(table, details)],
    ["use", "Use it", use(table, details)],
    ["lineage", "Built from, used by", around(catalog, table)],
    ["access", "Contract and access", access(catalog, table, details)],
    ["sql", "SQL", sql(details)],
  ].filter(([, , content]) => content);
  return h("article", { class: "table-page" },
    header(catalog, table, details),
    h("nav", { class: "sections", "aria-label": "On this page" }, sections.map(([id, title]) => h("a", { href: `${link(table)}?${id}` }, title))),
    sections.map(([id, title, content]) => h("section", { id, "aria-labelledby": `h-${id}` }, h("h2", { id: `h-${id}`, tabindex: "-1" }, title), content)));
}

function header(catalog, table, details) {
  const facts = [
    table.owner ? ["Owner", details.mail?.includes("@") ? h("a", { href: `mailto:${details.mail}` }, table.owner) : table.owner] : null,
    table.rows !== undefined ? ["Rows", number(table.rows)] : null,
    freshness(table) ? ["Last load", [time(table.loadedAt), " ", freshnessBadge(table)]] : null,
    table.builtAt ? ["Built", [time(table.builtAt), " ", buildBadge(table)]] : null,
    table.kind !== "source" && table.asOf ? ["Data as of", time(table.asOf)] : null,
    table.kind === "exposure" ? null : ["Tests", h("a", { href: `${link(table)}?tests` }, testBadge(table))],
    table.origin && table.kind === "source" ? ["From", table.origin] : null,
    table.maturity ? ["Maturity", table.maturity] : null,
    table.url && /^https?:/.test(table.url) ? ["Address", h("a", { href: table.url, rel: "noreferrer" }, new URL(table.url).host)] : null,
  ].filter(Boolean);
  return h("header", { class: "head" },
    h("p", { class: "crumbs" }, layerTag(table), table.domain ? h("span", { class: "muted" }, ` ${table.kind === "exposure" ? "" : table.domain}`) : null),
    h("h1", {}, table.name),
    table.grain && !table.grain.startsWith(table.about ?? "-") ? h("p", { class: "lead" }, inline(table.grain)) : h("p", { class: "lead" }, inline(table.about ?? "")),
    !table.about ? h("p", { class: "state warn" }, "This table has no description.") : null,
    h("dl", { class: "figures" }, facts.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text)))),
    h("p", {}, h("a", { class: "button", href: lineageLink(table) }, "See its lineage")));
}

function about(catalog, table, details) {
  const text = (details.description ?? "").trim();
  const rest = text.startsWith(table.about ?? "-") ? text.slice(table.about.length).trim() : text;
  if (!rest && !table.tags) return null;
  return [prose(rest), table.tags?.length ? h("p", {}, table.tags.map((tag) => h("a", { class: "chip", href: `#/search?q=tag:${encodeURIComponent(tag)}` }, tag))) : null];
}

/** A few rows as an audience reads them, and the table's measures over time. */
function content({ published }) {
  if (!published) return null;
  const { audience, sample, trend } = published;
  return [
    trend ? [h("div", { class: "trends" }, Object.entries(trend.measures).map(([name, points]) => trendFigure(points, name, trend.unit))),
      h("p", { class: "muted" }, `Sums by ${trend.unit} of ${trend.date}, up to ${trend.last}.`)] : null,
    sample ? [rowsTable("Sample rows", sample.columns, sample.rows, sample.hidden, (mark) => (mark === "hidden" ? "hidden" : TREATMENTS[mark])),
      h("p", { class: "muted" }, `As ${audience} read it. Values of personal columns are never shown here; instead it says how ${audience} see them.`)] : null,
  ];
}

function rowsTable(label, names, rows, hidden, words) {
  return h("div", { class: "failing scroll", tabindex: "0", role: "region", "aria-label": label },
    h("table", {}, h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((value, i) => h("td", {}, hidden[i] ? h("span", { class: "masked" }, words(hidden[i])) : value === null ? h("span", { class: "muted" }, "null") : String(value))))))));
}

function columns(catalog, table, details, opened) {
  if (!table.columns.length) return null;
  const keys = new Set((details.tests ?? []).filter((t) => ["primary_key", "unique"].includes(t.type)).map((t) => t.column));
  return h("ul", { class: "columns" }, table.columns.map((_, place) => columnItem(catalog, table, details, place, keys, opened)));
}

function columnItem(catalog, table, details, place, keys, opened) {
  const { name, type, about: text, personal } = column(table, place);
  const profile = details.profile?.[name];
  const own = (details.tests ?? []).filter((test) => test.column === name && test.kind === "data");
  const bad = own.filter((test) => ["fail", "warn", "error"].includes(test.state));
  const body = h("div", { class: "more" });
  const item = h("details", { id: `c-${name}`, open: name === opened },
    h("summary", {},
      h("span", { class: "what" }, h("span", { class: "name" }, name), h("span", { class: "type" }, type)),
      h("span", { class: "text" }, inline(text ?? ""), keys.has(name) ? h("span", { class: "note" }, " key") : null, " ", personalTag(personal), bad.length ? h("span", { class: "state fail" }, ` ${plural(bad.length, "failing test")}`) : null),
      h("span", { class: "picture" }, personal ? h("span", { class: "muted" }, "values not shown") : picture(profile, name))),
    body);
  const fillOnce = () => {
    if (body.childElementCount) return;
    body.append(...columnMore(catalog, table, details, place, profile, own).filter(Boolean));
  };
  if (name === opened) fillOnce();
  item.addEventListener("toggle", fillOnce);
  return h("li", {}, item);
}

function picture(profile, name) {
  if (!profile) return null;
  const nulls = profile.nulls === profile.rows ? "always null" : profile.nulls ? `${percent(profile.nulls, profile.rows)} null` : null;
  const chart = spark(profile, name);
  return [chart, h("span", { class: "muted" }, [chart ? null : profile.nulls === profile.rows ? null : `${short(profile.distinct)} distinct`, nulls].filter(Boolean).join(", "))];
}

function columnMore(catalog, table, details, place, profile, own) {
  const { name, personal } = column(table, place);
  const id = catalog.id(table.index, place);
  const constraints = details.constraints?.[name];
  const sees = personal && table.seen ? seenBy(catalog, table, name) : null;
  return [
    personal ? h("p", { class: "muted" }, personal.startsWith("~") || personal.startsWith("?") ? "Its values come from personal data, so they are neither profiled nor shown." : "Personal data: its values are neither profiled nor shown.") : profileFigure(profile, name),
    sees ? h("p", {}, sees.map(([audience, how], i) => [i ? "; " : "", h("strong", {}, audience), ` ${how}`]), ".") : null,
    h("div", { class: "ways" },
      way("Comes from", catalog, catalog.into(id), "source"),
      way("Goes into", catalog, catalog.outOf(id), "target")),
    constraints || own.length ? h("p", { class: "muted" }, constraints ? `Promised: ${constraints.join(", ")}. ` : "", own.map((test) => [stateMark(test.state), " ", test.claim, " "])) : null,
    h("p", {}, toLineage(table, place, `Follow ${name} from source to report`)),
  ];
}

function way(title, catalog, edges, end) {
  const values = edges.filter((edge) => edge.type === 0);
  const others = edges.filter((edge) => edge.type !== 0);
  if (!edges.length) return null;
  const entry = (edge) => {
    const [t, place] = catalog.place(edge[end]);
    const table = catalog.tables[t];
    return h("li", {}, place === ROWS ? [h("a", { href: link(table), class: "name" }, table.name), table.kind === "exposure" ? "" : " (its rows)"] : columnLink(table, place), h("span", { class: "muted" }, ` ${kindWords(catalog.kinds[edge.kind])}`));
  };
  return h("div", {}, h("h3", {}, title),
    values.length ? h("ul", {}, values.slice(0, 12).map(entry), values.length > 12 ? h("li", { class: "muted" }, `and ${values.length - 12} more`) : null) : null,
    others.length ? h("p", { class: "muted" }, end === "source" ? "Influenced by" : "Influences", ":") : null,
    others.length ? h("ul", { class: "influences" }, others.slice(0, 8).map(entry), others.length > 8 ? h("li", { class: "muted" }, `and ${others.length - 8} more`) : null) : null);
}

const KIND_WORDS = {
  identity: "unchanged",
  transformation: "computed",
  aggregation: "aggregated",
  rows: "which rows exist",
  unknown: "unknown",
};
export const kindWords = (kind) => KIND_WORDS[kind] ?? kind.replace(/_/g, " ");

const ORDER = ["fail", "warn", "unknown", "skipped", "pass"];

function tests(catalog, table, details) {
  const all = details.tests ?? [];
  if (table.kind === "exposure") return null;
  if (!all.length) return h("p", { class: "muted" }, "There are no tests, so nothing shows that this content is right.");
  const rank = (test) => ORDER.indexOf(test.state === "error" ? "fail" : test.state) + ORDER.length * ["data", "singular", "unit"].indexOf(test.kind) / 100;
  const sorted = [...all].sort((a, b) => rank(a) - rank(b));
  const bad = sorted.filter((test) => test.state !== "pass");
  const good = sorted.filter((test) => test.state === "pass");
  return [
    bad.length ? h("ul", { class: "tests" }, bad.map((test) => testItem(catalog, table, test, ["fail", "warn", "error"].includes(test.state)))) : null,
    good.length ? h("ul", { class: "tests" }, good.map((test) => testItem(catalog, table, test, false))) : null,
  ];
}

function testItem(catalog, table, test, expanded) {
  const kind = { unit: "unit test", singular: "business test", data: "test" }[test.kind];
  return h("li", {}, h("details", { open: expanded },
    h("summary", {}, stateMark(test.state), h("span", { class: "claim" }, inline(test.claim)), h("span", { class: "past" }, dots(test))),
    h("div", { class: "more" },
      h("p", { class: "muted" }, `${kind[0].toUpperCase()}${kind.slice(1)} `, h("code", {}, test.name), test.severity === "warn" ? ", warns only" : "", test.table !== undefined && test.table !== table.index ? [", of ", tableLink(catalog.tables[test.table])] : null, "."),
      verdict(test),
      failingRows(test),
      test.sql ? [h("h3", {}, test.rows ? "The query that finds these rows" : "Its query"), sqlBlock(test.sql, `SQL of the test ${test.name}`)] : null)));
}

function verdict(test) {
  if (test.state === "pass") return null;
  if (test.state === "unknown") return h("p", {}, "It has not run yet.");
  if (test.state === "skipped") return h("p", {}, "It was skipped because something before it failed.");
  return h("p", { class: "verdict" },
    test.failures !== undefined && test.failures !== null ? h("strong", {}, `${plural(test.failures, "row")} ${test.failures === 1 ? "breaks" : "break"} it`) : h("strong", {}, "It could not run"),
    test.since ? [", since ", h("time", { datetime: test.since, title: when(test.since) }, when(test.since))] : null, ".",
    test.message ? h("span", { class: "muted message" }, test.message) : null);
}

function dots(test) {
  const history = test.history ?? [];
  if (!history.length) return null;
  const bad = history.filter(([, status]) => !["pass", "success"].includes(status)).length;
  const words = `${plural(history.length, "run")}, ${bad ? `${bad} not passed` : "all passed"}`;
  return h("span", { class: "dots", role: "img", "aria-label": words, title: words }, history.slice(-20).map(([at, status, failures]) => h("i", { class: ["pass", "success"].includes(status) ? "pass" : ["warn", "skipped"].includes(status) ? "warn" : "fail", title: `${when(at)}: ${status}${failures ? `, ${failures} rows` : ""}` })));
}

function failingRows(test) {
  if (!test.rows) return null;
  const { at, columns: names, masked, rows } = test.rows;
  const hidden = masked.filter(Boolean);
  return h("div", {},
    h("h3", {}, `${rows.length < (test.failures ?? 0) ? "The first " : ""}${plural(rows.length, "failing row")}, ${when(at)}`),
    rowsTable(`Failing rows of ${test.name}`, names, rows, masked, (mark) => `hidden: ${mark}`),
    hidden.length ? h("p", { class: "muted" }, "Columns with personal data, or derived from it, are hidden. Run the query below to see them, if you may.") : null);
}

function loads(table, details) {
  const counts = details.counts ?? [];
  const list = details.loads ?? [];
  if (!counts.length && !list.length) return null;
  return [
    counts.length > 1 ? timeline(counts, "Rows at each build") : counts.length ? h("p", { class: "muted" }, `${number(counts[0][1])} rows on ${when(counts[0][0])}. The chart starts with the second build.`) : null,
    list.length ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Last loads" }, h("table", { class: "loads" },
      h("caption", {}, "Last loads", table.limits?.warn_after ? h("span", { class: "muted" }, `; expected every ${span(table.limits.warn_after)}${table.limits.error_after ? `, late after ${span(table.limits.error_after)}` : ""}`) : null),
      h("thead", {}, h("tr", {}, ["When", "What", "Rows", "Deleted", "Quarantined", "Size"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, list.map((load) => h("tr", {},
        h("td", {}, when(load.at)),
        h("td", {}, h("span", { class: `state ${load.status === "failed" ? "fail" : "pass"}` }, load.status), load.error ? h("span", { class: "message muted" }, load.error) : null),
        h("td", { class: "n" }, number(load.rows)), h("td", { class: "n" }, number(load.deleted)), h("td", { class: "n" }, number(load.quarantined)), h("td", { class: "n" }, bytes(load.bytes))))))) : null,
  ];
}

const span = (hours) => (hours >= 24 ? plural(hours / 24, "day") : plural(hours, "hour"));

function use(table, details) {
  if (!details.queries) return null;
  const openings = details.openings ?? [];
  return [
    openings.length ? h("details", {}, h("summary", {}, `Open it first, as ${openings.map(([audience]) => audience).join(" or ")}`), openings.map(([audience, text]) => [h("h3", {}, audience), sqlBlock(text, `Opening the file of ${audience}`)]))
      : h("p", { class: "muted" }, table.kind === "source" ? "In raw, attached to the warehouse:" : "It is not published to any audience; these run in the warehouse only:"),
    details.queries.map(([title, text]) => [h("h3", {}, title), sqlBlock(text, title)]),
  ];
}

function around(catalog, table) {
  const parents = table.parents.map((i) => catalog.tables[i]);
  const children = catalog.children[table.index].map((i) => catalog.tables[i]);
  if (!parents.length && !children.length) return h("p", { class: "muted" }, "No table is known that reads it or builds it.");
  const entry = (t) => h("li", {}, layerTag(t), " ", tableLink(t), t.owner && t.owner !== table.owner ? h("span", { class: "muted" }, ` ${t.owner}`) : null);
  const reached = reports(catalog, table);
  return [
    h("div", { class: "ways" },
      h("div", {}, h("h3", {}, "Built from"), parents.length ? h("ul", {}, parents.map(entry)) : h("p", { class: "muted" }, table.origin ? `Loaded from ${table.origin}.` : "No table of this project.")),
      h("div", {}, h("h3", {}, "Used by"), children.length ? h("ul", {}, children.map(entry)) : h("p", { class: "muted" }, "No table of this project."))),
    reached.length && !children.every((t) => t.kind === "exposure") ? h("p", {}, "It reaches the reports ", reached.map((t, i) => [i ? ", " : "", tableLink(t)]), ".") : null,
    h("p", {}, toLineage(table, ROWS, "Lineage of the table")),
  ];
}

function reports(catalog, table) {
  const seen = new Set([table.index]);
  const pending = [table.index];
  while (pending.length) for (const child of catalog.children[pending.pop()]) if (!seen.has(child)) seen.add(child) && pending.push(child);
  return [...seen].map((i) => catalog.tables[i]).filter((t) => t.kind === "exposure" && t !== table);
}

function access(catalog, table, details) {
  if (table.kind === "exposure" || table.kind === "source") return null;
  const classed = table.columns.filter((c) => c[3]).length;
  const names = table.audiences ?? [];
  const personal = table.columns.filter((c) => c[3]).map(([name]) => name);
  return [
    h("p", {}, table.contract ? "A contract fixes its columns and their types: a build that breaks it fails." : "It has no contract: columns may change.", table.access === "public" ? " Every project may build on it." : table.access ? ` Its access is ${table.access}: only its own project may build on it.` : ""),
    names.length
      ? h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Audiences" }, h("table", {}, h("caption", {}, "Who may read it, and how they see its personal columns"),
        h("thead", {}, h("tr", {}, ["Audience", "Rows", ...personal].map((title) => h("th", { scope: "col" }, title)))),
        h("tbody", {}, catalog.audiences.filter(({ name }) => names.includes(name)).map(({ name }) => h("tr", {}, h("th", { scope: "row" }, name),
          h("td", {}, details.filters?.[name] ? h("code", {}, details.filters[name]) : "all"),
          personal.map((c) => h("td", {}, TREATMENTS[table.seen[name][c]])))))))
      : h("p", { class: "muted" }, "No audience is granted this table, so it is not published."),
    classed ? h("p", { class: "muted" }, `${plural(classed, "column")} of ${table.columns.length} ${classed === 1 ? "holds" : "hold"} personal data.`) : null,
  ];
}

function sql(details) {
  if (!details.sql && !details.unknowns) return null;
  return [
    details.file ? h("p", { class: "muted" }, details.file) : null,
    details.unknowns ? h("p", { class: "state warn" }, `Lineage does not know ${plural(details.unknowns.length, "part")}: ${details.unknowns.map(([why]) => why).join("; ")}`) : null,
    details.sql ? h("details", {}, h("summary", {}, "As written"), sqlBlock(details.sql, "SQL as written")) : null,
    details.compiled ? h("details", {}, h("summary", {}, "As compiled"), sqlBlock(details.compiled, "SQL as compiled")) : null,
  ];
}
