// Draws tables with their columns from left to right and the edges between them. Cards are HTML, so that they can
// be read, focused and zoomed like text; edges are SVG behind them.

import { h, s } from "./dom.js";
import { INFLUENCE, UNKNOWN, VALUE } from "./data.js";

const CARD = 220;
const GAP_X = 96;
const GAP_Y = 22;
const HEAD = 46;
const ROW = 26;
const PAD = 16;

/**
 * cards: [{key, title, note, layer, href, focus, rows: [{id, text, href, mark, focus}]}]; edges: [{from: [key, id],
 * to: [key, id], type, title}], where a missing id means the whole card. Returns the element to show.
 */
export function drawGraph(cards, edges, { label, onRow }) {
  const places = layout(cards, edges);
  const width = Math.max(...[...places.values()].map((p) => p.x + CARD), 200) + PAD;
  const height = Math.max(...[...places.values()].map((p) => p.y + p.height), 120) + PAD;
  const canvas = h("div", { class: "canvas", style: `width:${width}px;height:${height}px` });
  canvas.append(wires(cards, edges, places, width, height));
  for (const card of cards) canvas.append(element(card, places.get(card.key), onRow));
  const view = h("div", { class: "graph", tabindex: "0", role: "group", "aria-label": label }, canvas);
  keyboard(view, cards, edges);
  hover(view);
  return h("div", { class: "picture-frame" }, zooming(view, canvas, width, height), view);
}

function layout(cards, edges) {
  const rank = ranks(cards, edges);
  const levels = [];
  for (const card of cards) (levels[rank.get(card.key)] ??= []).push(card);
  const near = new Map(cards.map((card) => [card.key, []]));
  for (const { from, to } of edges) {
    near.get(from[0])?.push(to[0]);
    near.get(to[0])?.push(from[0]);
  }
  const order = new Map();
  for (const level of levels) level?.forEach((card, i) => order.set(card.key, i - (level.length - 1) / 2));
  // Cards move towards the middle of their neighbours; a few sweeps in both directions remove most crossings.
  for (let sweep = 0; sweep < 8; sweep += 1) {
    for (const level of sweep % 2 ? [...levels].reverse() : levels) {
      if (!level) continue;
      const middle = new Map(level.map((card) => {
        const others = near.get(card.key);
        return [card.key, others.length ? others.reduce((sum, key) => sum + order.get(key), 0) / others.length : order.get(card.key)];
      }));
      level.sort((a, b) => middle.get(a.key) - middle.get(b.key));
      level.forEach((card, i) => order.set(card.key, i - (level.length - 1) / 2));
    }
  }
  const size = (card) => HEAD + card.rows.length * ROW + (card.rows.length ? 8 : 0);
  const heights = levels.map((level) => (level ?? []).reduce((sum, card) => sum + size(card) + GAP_Y, -GAP_Y));
  const tallest = Math.max(...heights, 0);
  const places = new Map();
  let x = PAD;
  for (const [i, level] of levels.entries()) {
    if (!level) continue;
    let y = PAD + (tallest - heights[i]) / 2;
    for (const card of level) {
      places.set(card.key, { x, y, height: size(card) });
      y += size(card) + GAP_Y;
    }
    x += CARD + GAP_X;
  }
  return places;
}

/** The longest path to each card, with cards moved right towards the cards they feed. */
function ranks(cards, edges) {
  const out = new Map(cards.map((card) => [card.key, new Set()]));
  for (const { from, to } of edges) if (from[0] !== to[0] && out.has(from[0]) && out.has(to[0])) out.get(from[0]).add(to[0]);
  const height = new Map();
  const visiting = new Set();
  const measure = (key) => {
    if (height.has(key)) return height.get(key);
    if (visiting.has(key)) return 0;
    visiting.add(key);
    const found = Math.max(-1, ...[...out.get(key)].map(measure)) + 1;
    visiting.delete(key);
    height.set(key, found);
    return found;
  };
  for (const card of cards) measure(card.key);
  const most = Math.max(0, ...height.values());
  return new Map(cards.map((card) => [card.key, most - height.get(card.key)]));
}

function element(card, place, onRow) {
  const title = card.href ? h("a", { href: card.href, class: "title" }, card.title) : h("span", { class: "title" }, card.title);
  return h("section", { class: `card l-${card.layer}${card.focus ? " focus" : ""}`, style: `left:${place.x}px;top:${place.y}px;width:${CARD}px`, "aria-label": card.title },
    h("div", { class: "card-head", title: card.title }, title, h("span", { class: "note" }, card.note ?? "")),
    card.rows.length ? h("ul", {}, card.rows.map((row) => {
      const button = h("button", { type: "button", "data-id": row.id, class: `${row.focus ? "focus " : ""}${row.look ?? ""}`, "aria-current": row.focus ? "true" : null, title: row.title ?? row.text }, h("span", {}, row.text), row.mark ? h("span", { class: "mark-right" }, row.mark) : null);
      button.addEventListener("click", () => onRow?.(row));
      return h("li", {}, button);
    })) : null);
}

function wires(cards, edges, places, width, height) {
  const offset = new Map();
  for (const card of cards) {
    const place = places.get(card.key);
    offset.set(`${card.key}/`, place.y + HEAD / 2);
    card.rows.forEach((row, i) => offset.set(`${card.key}/${row.id}`, place.y + HEAD + 4 + i * ROW + ROW / 2));
  }
  const names = { [VALUE]: "value", [INFLUENCE]: "influence", [UNKNOWN]: "unknown" };
  // Values are drawn last, above the influences, with a filled arrow; influences are dashed with an open diamond.
  const sorted = [...edges].sort((a, b) => b.type - a.type);
  return s("svg", { class: "wires", width, height, "aria-hidden": "true" },
    s("defs", {},
      s("marker", { id: "end-value", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto", class: "value" }, s("path", { d: "M0 0L10 5L0 10Z" })),
      s("marker", { id: "end-influence", viewBox: "0 0 12 10", refX: 11, refY: 5, markerWidth: 9, markerHeight: 8, orient: "auto", class: "influence" }, s("path", { d: "M1 5L6 1L11 5L6 9Z" })),
      s("marker", { id: "end-unknown", viewBox: "0 0 10 10", refX: 5, refY: 5, markerWidth: 6, markerHeight: 6, class: "unknown" }, s("circle", { cx: 5, cy: 5, r: 4 }))),
    sorted.map((edge) => {
      const from = places.get(edge.from[0]);
      const to = places.get(edge.to[0]);
      const y1 = offset.get(`${edge.from[0]}/${edge.from[1] ?? ""}`) ?? offset.get(`${edge.from[0]}/`);
      const y2 = offset.get(`${edge.to[0]}/${edge.to[1] ?? ""}`) ?? offset.get(`${edge.to[0]}/`);
      const x1 = from.x + CARD;
      const x2 = to.x - 2;
      const bend = Math.max(36, (x2 - x1) / 2);
      return s("path", {
        d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
        class: `wire ${names[edge.type]}`,
        "marker-end": `url(#end-${names[edge.type]})`,
        "data-from": edge.from[1] ?? edge.from[0],
        "data-to": edge.to[1] ?? edge.to[0],
      });
    }));
}

/** Up and down move within a card, left and right along an edge; Enter works as on any button. */
function keyboard(view, cards, edges) {
  const buttons = () => [...view.querySelectorAll("button[data-id]")];
  view.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const sideways = { ArrowLeft: ["to", "from"], ArrowRight: ["from", "to"] }[event.key];
    const here = document.activeElement?.dataset?.id;
    if (!step && !sideways) return;
    const all = buttons();
    if (here === undefined) {
      const focus = view.querySelector("button.focus") ?? all[0];
      if (focus) {
        event.preventDefault();
        focus.focus();
      }
      return;
    }
    event.preventDefault();
    if (step) {
      const card = document.activeElement.closest(".card");
      const own = [...card.querySelectorAll("button[data-id]")];
      own[own.indexOf(document.activeElement) + step]?.focus();
      return;
    }
    const [near, far] = sideways;
    const ways = edges.filter((edge) => String(edge[near][1] ?? edge[near][0]) === here).sort((a, b) => a.type - b.type);
    for (const way of ways) {
      const target = all.find((button) => button.dataset.id === String(way[far][1] ?? way[far][0]));
      if (target) {
        target.focus();
        target.scrollIntoView({ block: "nearest", inline: "center" });
        return;
      }
    }
  });
}

function centre(view) {
  const focus = view.querySelector(".card.focus")?.getBoundingClientRect();
  if (!focus) return;
  const frame = view.getBoundingClientRect();
  view.scrollLeft += focus.x + focus.width / 2 - frame.x - frame.width / 2;
  view.scrollTop += focus.y + focus.height / 2 - frame.y - frame.height / 2;
}

/** Shows the whole of a graph; called once its element is in the page and has a size. */
export const fit = (view) => view?.dispatchEvent(new CustomEvent("fit"));

function zooming(view, canvas, width, height) {
  let scale = 1;
  const set = (value) => {
    scale = Math.min(1.5, Math.max(0.05, value));
    canvas.style.zoom = scale;
    centre(view);
  };
  // The frame grows with its content up to its maximum, so that is the height there is.
  const whole = () => Math.min(1, (view.clientWidth - 4) / width, (parseFloat(getComputedStyle(view).maxHeight) - 4) / height);
  view.addEventListener("fit", () => set(whole()));
  const button = (text, label, value) => {
    const element = h("button", { type: "button", "aria-label": label, title: label }, text);
    element.addEventListener("click", () => set(value()));
    return element;
  };
  return h("div", { class: "zoom", role: "group", "aria-label": "Zoom" },
    button("–", "Smaller", () => scale / 1.2),
    button("+", "Larger", () => scale * 1.2),
    button("Whole", "Fit to view", whole));
}

/** Highlights the edges of the column under the mouse or with the focus. */
function hover(view) {
  const mark = (id) => {
    for (const wire of view.querySelectorAll(".wire")) wire.classList.toggle("lit", id !== null && (wire.dataset.from === id || wire.dataset.to === id));
    view.classList.toggle("dimmed", id !== null);
  };
  const idOf = (event) => event.target.closest?.("button[data-id]")?.dataset.id ?? null;
  view.addEventListener("mouseover", (event) => mark(idOf(event)));
  view.addEventListener("mouseleave", () => mark(null));
  view.addEventListener("focusin", (event) => mark(idOf(event)));
  view.addEventListener("focusout", () => mark(null));
}
