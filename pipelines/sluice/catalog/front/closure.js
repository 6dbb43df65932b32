// Which columns a column comes from and goes into.

import { INFLUENCE, ROWS, VALUE } from "./data.js";

/**
 * The columns around one, as {ids, edges}. `depth`: "values" follows values only; "near" adds influences on the
 * columns along the path; "all" traces those to their end, upstream and downstream.
 */
export function around(catalog, start, depth) {
  const ids = new Set([start]);
  const edges = new Map();
  for (const direction of ["into", "outOf"]) {
    const end = direction === "into" ? "source" : "target";
    walk(catalog, start, direction, end, depth, ids, edges);
  }
  return { ids, edges: [...edges.values()] };
}

function walk(catalog, start, direction, end, depth, ids, edges) {
  const seen = new Set([start]);
  const pending = [start];
  const near = new Set();
  const keep = (edge) => edges.set(`${edge.source}>${edge.target}>${edge.type}`, edge);
  while (pending.length) {
    const id = pending.shift();
    for (const edge of catalog[direction](id)) {
      if (edge.type === VALUE || depth === "all") {
        keep(edge);
        ids.add(edge[end]);
        if (!seen.has(edge[end])) seen.add(edge[end]) && pending.push(edge[end]);
      } else if (depth === "near") {
        keep(edge);
        near.add(edge[end]);
      }
    }
    rowsOf(catalog, id, direction, depth, { keep, near, seen, pending, ids });
  }
  for (const id of near) ids.add(id);
}

/** Every column depends on the rows of its table, so their influences count for it upstream as well. */
function rowsOf(catalog, id, direction, depth, { keep, near, seen, pending, ids }) {
  if (depth === "values") return;
  const [table, place] = catalog.place(id);
  if (direction === "into" && place !== ROWS) {
    const rows = catalog.id(table, ROWS);
    const edges = catalog.into(rows);
    if (!edges.length) return;
    ids.add(rows);
    if (depth === "all") {
      if (!seen.has(rows)) seen.add(rows) && pending.push(rows);
      return;
    }
    for (const edge of edges) {
      keep(edge);
      near.add(edge.source);
    }
  }
  if (direction === "outOf" && place === ROWS && depth === "all") {
    for (let c = 0; c < catalog.tables[table].columns.length; c += 1) {
      const column = catalog.id(table, c);
      ids.add(column);
      if (!seen.has(column)) seen.add(column) && pending.push(column);
    }
  }
}

/**
 * The columns one comes from (`into`) or goes into (`outOf`), nearest first, as {values, influences} of {id, type, kind}.
 * A column is listed once: where its value arrives, that counts, however near it decides something as well.
 */
export function reach(catalog, start, direction, depth) {
  const end = direction === "into" ? "source" : "target";
  const seen = new Set([start]);
  const follow = (begin, edgesOf, further) => {
    const found = [];
    const pending = [...begin];
    for (const id of pending) {
      for (const edge of edgesOf(id)) {
        if (seen.has(edge[end])) continue;
        seen.add(edge[end]);
        found.push({ id: edge[end], type: edge.type, kind: catalog.kinds[edge.kind] ?? "rows" });
        if (further) pending.push(edge[end]);
      }
    }
    return found;
  };
  const values = follow([start], (id) => catalog[direction](id).filter((edge) => edge.type === VALUE), true);
  const weaker = (edge) => (edge.type === VALUE ? { ...edge, type: INFLUENCE } : edge);
  const others = (id) => {
    const [table, place] = catalog.place(id);
    const own = catalog[direction](id);
    // Every column depends on the rows of its table.
    if (direction === "into" && place !== ROWS) return [...own, ...catalog.into(catalog.id(table, ROWS))].map(weaker);
    if (direction === "outOf" && place === ROWS && depth === "all") {
      return [...own.map(weaker), ...catalog.tables[table].columns.map((_, c) => ({ target: catalog.id(table, c), type: INFLUENCE }))];
    }
    return own.map(weaker);
  };
  return { values, influences: follow([start, ...values.map(({ id }) => id)], others, depth === "all") };
}

/** The tables around one: `up` and `down` steps of parents and children. */
export function tablesAround(catalog, start, steps) {
  const found = new Set([start]);
  for (const next of [(t) => catalog.tables[t].parents, (t) => catalog.children[t]]) {
    let level = [start];
    for (let step = 0; step < steps && level.length; step += 1) {
      level = [...new Set(level.flatMap(next))].filter((t) => !found.has(t) || t === start);
      for (const t of level) found.add(t);
    }
  }
  return found;
}

/** The columns that values of a column reach, in breadth-first order; the column itself comes first. */
export function valueFlow(catalog, start) {
  const seen = new Set([start]);
  const order = [start];
  for (const id of order) {
    for (const edge of catalog.outOf(id)) {
      if (edge.type === INFLUENCE || seen.has(edge.target)) continue;
      seen.add(edge.target);
      order.push(edge.target);
    }
  }
  return order;
}
