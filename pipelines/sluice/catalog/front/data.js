// The catalog's data: unpacked at the start, except the details of a table, which are unpacked when needed.

export const VALUE = 0;
export const INFLUENCE = 1;
export const UNKNOWN = 2;
export const ROWS = -1;

async function unpack(id) {
  const element = document.getElementById(`data-${id}`);
  const stream = new Blob([bytesOf(element.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const content = JSON.parse(await new Response(stream).text());
  element.remove();
  return content;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Opens the catalog: `tables`, `edges` by column, and ways to look things up. */
export async function open() {
  const core = await unpack("core");
  const tables = core.tables;
  const byName = new Map();
  for (const [index, table] of tables.entries()) {
    table.index = index;
    table.tests ??= {};
    byName.set(table.id, index);
    // Addresses use names; if two tables share one, the second uses its id.
    table.slug = byName.has(table.name) ? table.id : table.name;
    if (!byName.has(table.name)) byName.set(table.name, index);
  }
  const graph = edges(tables, core.edges);
  const children = tables.map(() => []);
  for (const table of tables) for (const parent of table.parents) children[parent].push(table.index);
  const parts = new Map();
  return {
    ...core,
    ...graph,
    children,
    /** Index of the table with that name or id, or undefined. */
    find: (name) => byName.get(name),
    /** What is shown only on the table's own page. */
    async details(index) {
      const [part, place] = core.places[index];
      if (!parts.has(part)) parts.set(part, unpack(`part-${part}`));
      return (await parts.get(part))[place];
    },
  };
}

/*
 * A column has one number: the start of its table plus its index plus one; the start itself stands for the table's
 * rows. Edges are sorted by target and by source, with an index of the first edge per column, so that 100,000 edges
 * take a few milliseconds.
 */
function edges(tables, flat) {
  const starts = new Int32Array(tables.length + 1);
  for (const [index, table] of tables.entries()) starts[index + 1] = starts[index] + table.columns.length + 1;
  const count = flat.length / 6;
  const size = starts[tables.length];
  const source = new Int32Array(count);
  const target = new Int32Array(count);
  for (let i = 0; i < count; i += 1) {
    source[i] = starts[flat[6 * i]] + flat[6 * i + 1] + 1;
    target[i] = starts[flat[6 * i + 2]] + flat[6 * i + 3] + 1;
  }
  const into = sorted(target, size);
  const outOf = sorted(source, size);
  const tableOf = new Int32Array(size);
  for (let t = 0; t < tables.length; t += 1) tableOf.fill(t, starts[t], starts[t + 1]);
  const edge = (i) => ({ source: source[i], target: target[i], type: flat[6 * i + 4], kind: flat[6 * i + 5] });
  const list = (index, id) => Array.from(index.order.subarray(index.first[id], index.first[id + 1]), edge);
  return {
    /** The number of a column; index -1 means the rows. */
    id: (table, place) => starts[table] + place + 1,
    /** [table, index] of a number. */
    place: (id) => [tableOf[id], id - starts[tableOf[id]] - 1],
    into: (id) => list(into, id),
    outOf: (id) => list(outOf, id),
  };
}

function sorted(keys, size) {
  const first = new Int32Array(size + 1);
  for (const key of keys) first[key + 1] += 1;
  for (let i = 0; i < size; i += 1) first[i + 1] += first[i];
  const next = first.slice();
  const order = new Int32Array(keys.length);
  for (let i = 0; i < keys.length; i += 1) order[next[keys[i]]++] = i;
  return { first, order };
}

/** The facts about a column as named properties. */
export function column(table, place) {
  const [name, type, about, personal, tags] = table.columns[place];
  return { name, type, about, personal, tags: tags ?? [] };
}

/** `email` of `~email`: the classes without the mark that says whether they are declared or derived. */
export const classes = (personal) => personal.replace(/^[~?]/, "");

export const link = (table, place = ROWS) =>
  `#/table/${encodeURIComponent(table.slug)}${place === ROWS ? "" : `/${encodeURIComponent(table.columns[place][0])}`}`;

export const lineageLink = (table, place = ROWS) => link(table, place).replace("#/table", "#/lineage");

/** The worst state of a table's tests: fail, warn, unknown (not all of them ran), pass, or none without tests. */
export function testState(table) {
  const found = table.tests;
  if (found.fail) return "fail";
  if (found.warn) return "warn";
  const states = Object.keys(found);
  if (!states.length) return "none";
  return states.some((state) => state !== "pass") ? "unknown" : "pass";
}

/** The state of a source table, as `sluice status` says it, by this machine's clock; null where nobody knows, and for other tables. */
export function freshness(table) {
  if (table.kind !== "source" || (table.unwatched && !table.loadedAt)) return null;
  if (table.loadFailed) return "failed";
  if (!table.loadedAt) return "never loaded";
  const hours = (Date.now() - Date.parse(table.loadedAt)) / 3600000;
  if (table.limits?.error_after && hours > table.limits.error_after) return "expired";
  if (table.limits?.warn_after && hours > table.limits.warn_after) return "stale";
  return "fresh";
}

/** Whether the last build of a model, seed or snapshot did not make it: what is there is older, if anything is. */
export const isBroken = (table) => ["error", "runtime error", "partial success", "skipped"].includes(table.builtAs);

/** Whether somebody has to look after a source table: it is late, or its last load failed. */
export const isLate = (table) => !["fresh", null].includes(freshness(table));

export const LAYER_NAMES = {
  source: "Sources",
  seed: "Seeds",
  staging: "Staging",
  intermediate: "Intermediate",
  utilities: "Utilities",
  snapshot: "Snapshots",
  marts: "Marts",
  exposure: "Reports",
};

export const layerName = (layer) => LAYER_NAMES[layer] ?? layer[0].toUpperCase() + layer.slice(1);

/** The name of one table of a layer. */
export const KIND_NAMES = { source: "source table", seed: "seed", snapshot: "snapshot", model: "model", exposure: "report", table: "table" };
