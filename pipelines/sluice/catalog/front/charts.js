// Small charts of columns; each has a text alternative.

import { h, s, number, percent, short, when } from "./dom.js";

const WIDTH = 140;
const HEIGHT = 30;

/** The distribution of a column as a chart the size of a word. */
export function spark(profile, name) {
  if (!profile) return null;
  if (profile.bins) return bars(profile.bins, `${name}: ${range(profile)}, most between ${likely(profile)}`);
  if (profile.top?.length) return shares(profile, name);
  return null;
}

function bars(bins, label) {
  const high = Math.max(...bins);
  const width = WIDTH / bins.length;
  return s("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    bins.map((count, i) => {
      // Every non-empty bin stays visible.
      const height = count ? Math.max(1.5, (HEIGHT - 1) * Math.sqrt(count / high)) : 0;
      return s("rect", { x: i * width + 0.5, y: HEIGHT - height, width: width - 1, height });
    }));
}

function shares({ top, rows, nulls }, name) {
  const filled = rows - nulls;
  let x = 0;
  const label = `${name}: ${top.slice(0, 3).map(([value, count]) => `${value} ${percent(count, filled)}`).join(", ")}`;
  return s("svg", { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    top.map(([, count], i) => {
      const width = (WIDTH * count) / filled;
      const bar = s("rect", { x, y: 9, width: Math.max(0.5, width - 1), height: 12, class: `share s${Math.min(i, 5)}` });
      x += width;
      return bar;
    }),
    x < WIDTH - 1 ? s("rect", { x, y: 9, width: WIDTH - x, height: 12, class: "share rest" }) : null);
}

export function range({ low, high, kind }) {
  if (low === undefined) return "";
  const text = (value) => (kind === "time" ? String(value).slice(0, 16) : short(value));
  return `${text(low)} to ${text(high)}`;
}

function likely({ bins, from, to, low, high, kind }) {
  const most = bins.indexOf(Math.max(...bins));
  if (kind === "time") return `bin ${most + 1} of ${bins.length}`;
  const start = Number(from ?? low);
  const step = (Number(to ?? high) - start) / bins.length;
  return `${short(start + most * step)} and ${short(start + (most + 1) * step)}`;
}

/** The full profile: figures, distribution with its axis, most frequent values. */
export function profileFigure(profile, name) {
  if (!profile) return null;
  const { rows, nulls, distinct, kind, mean, lengths, bins, top, sampled } = profile;
  const filled = rows - nulls;
  const facts = [
    ["Null", `${number(nulls)} (${percent(nulls, rows)})`],
    ["Distinct", `${number(distinct)}${distinct === filled && filled > 1 ? " (all different)" : ""}`],
    profile.low !== undefined ? ["Range", range(profile)] : null,
    mean !== undefined ? ["Mean", short(mean)] : null,
    lengths ? ["Length", lengths[0] === lengths[1] ? `${lengths[0]}` : `${lengths[0]} to ${lengths[1]}`] : null,
  ].filter(Boolean);
  const axis = (value) => (kind === "time" ? String(value).slice(0, 10) : short(value));
  return h("div", { class: "profile" },
    h("dl", { class: "figures" }, facts.map(([term, text]) => h("div", {}, h("dt", {}, term), h("dd", {}, text)))),
    bins ? h("figure", {}, bars(bins, `Histogram of ${name}`), h("figcaption", {}, h("span", {}, axis(profile.from ?? profile.low)), h("span", {}, axis(profile.to ?? profile.high)))) : null,
    top && kind !== "time" ? topValues(top, filled, distinct) : null,
    profile.suspect ? h("p", { class: "muted" }, "Values are not shown: they look like personal data, but the column has no data class.") : null,
    sampled ? h("p", { class: "muted" }, `From a sample of ${number(sampled)} rows.`) : null);
}

function topValues(top, filled, distinct) {
  return h("table", { class: "top-values" },
    h("caption", {}, distinct > top.length ? `Most frequent of ${number(distinct)} values` : "Values"),
    h("thead", { class: "visually-hidden" }, h("tr", {}, h("th", { scope: "col" }, "Value"), h("th", { scope: "col" }, "Share"))),
    h("tbody", {}, top.map(([value, count]) => h("tr", {},
      h("th", { scope: "row" }, value === "" ? "(empty)" : String(value)),
      h("td", {}, h("span", { class: "bar-track", "aria-hidden": "true" }, h("span", { class: "bar-fill", style: `width:${(100 * count) / top[0][1]}%` })), percent(count, filled))))));
}

/** Rows over time: points of [time, rows]. */
export function timeline(points, label) {
  if (points.length < 2) return null;
  const width = 640;
  const height = 120;
  const times = points.map(([at]) => Date.parse(at));
  const high = Math.max(...points.map(([, rows]) => rows), 1);
  const from = times[0];
  const span = times[times.length - 1] - from || 1;
  const x = (at) => 4 + ((width - 8) * (at - from)) / span;
  const y = (rows) => height - 4 - ((height - 12) * rows) / high;
  const path = points.map(([, rows], i) => `${i ? "L" : "M"}${x(times[i]).toFixed(1)} ${y(rows).toFixed(1)}`).join("");
  return h("figure", { class: "timeline" },
    s("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${label}: from ${number(points[0][1])} on ${when(points[0][0])} to ${number(points[points.length - 1][1])} on ${when(points[points.length - 1][0])}` },
      s("path", { d: `${path}L${x(times[times.length - 1]).toFixed(1)} ${height}L${x(from)} ${height}Z`, class: "area" }),
      s("path", { d: path, class: "line" }),
      points.length < 40 ? points.map(([at, rows], i) => s("circle", { cx: x(times[i]), cy: y(rows), r: 2.5 }, s("title", {}, `${number(rows)}, ${when(at)}`))) : null),
    h("figcaption", {}, h("span", {}, when(points[0][0])), h("span", {}, `highest ${number(high)}`), h("span", {}, when(points[points.length - 1][0]))));
}

/** A measure over time, as small as a sentence: points of [date, value]. */
export function trendFigure(points, name, unit) {
  if (points.length < 2) return null;
  const values = points.map(([, value]) => value);
  const high = Math.max(...values, 0);
  const low = Math.min(...values, 0);
  const x = (i) => 2 + ((WIDE - 4) * i) / (points.length - 1);
  const y = (value) => 2 + ((TALL - 4) * (high - value)) / (high - low || 1);
  const path = values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  const [first, last] = [points[0], points[points.length - 1]].map(([at, value]) => `${short(value)} in ${unit === "month" ? at.slice(0, 7) : at}`);
  return h("figure", { class: "trend" },
    h("figcaption", {}, h("span", { class: "name" }, name)),
    s("svg", { viewBox: `0 0 ${WIDE} ${TALL}`, role: "img", "aria-label": `${name} by ${unit}: from ${first} to ${last}, highest ${short(high)}` },
      low < 0 ? s("path", { d: `M0 ${y(0)}H${WIDE}`, class: "zero" }) : null,
      s("path", { d: path, class: "line" })),
    h("figcaption", {}, h("span", {}, first), h("span", {}, last)));
}

const WIDE = 240;
const TALL = 48;
