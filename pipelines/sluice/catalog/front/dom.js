// Building elements, and formatting numbers and times.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes: strings, `true` for bare ones, `on…` for listeners; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  // Text is always added as text, so no data can become markup.
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en"));

/** 1234567 as 1.2 M; for places where the exact figure is not needed. */
export function short(value) {
  const steps = [[1e9, " bn"], [1e6, " M"], [1e3, " k"]];
  for (const [size, unit] of steps) {
    if (Math.abs(value) >= size) return `${(value / size).toLocaleString("en", { maximumFractionDigits: value / size < 10 ? 1 : 0 })}${unit}`;
  }
  return value.toLocaleString("en", { maximumFractionDigits: 2 });
}

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function percent(part, whole) {
  if (!whole) return "–";
  const share = (100 * part) / whole;
  if (share > 0 && share < 0.1) return "<0.1 %";
  return `${share.toLocaleString("en", { maximumFractionDigits: share < 10 ? 1 : 0 })} %`;
}

export function when(iso) {
  if (!iso) return "never";
  return `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;
}

/** How long ago a time is by this machine's clock. */
export function ago(iso) {
  const hours = (Date.now() - Date.parse(iso)) / 3600000;
  if (hours < 1) return "within the last hour";
  if (hours < 48) return `${plural(Math.round(hours), "hour")} ago`;
  return `${plural(Math.round(hours / 24), "day")} ago`;
}

/** The age of a time, with the exact time as a tooltip. */
export const time = (iso) => (iso ? h("time", { datetime: iso, title: when(iso) }, ago(iso)) : "never");

export const bytes = (value) => (value > 1e6 ? `${(value / 1e6).toFixed(1)} MB` : `${Math.ceil(value / 1e3)} kB`);

/** Replaces the content of `parent`. */
export function show(parent, ...children) {
  parent.replaceChildren(...children.flat(Infinity).filter(Boolean));
}

/** Announces a text to screen readers. */
export function say(text) {
  document.getElementById("live").textContent = text;
}
