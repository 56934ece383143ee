// Perspective's table of cells, which the grid and the chart both show.
//
// The library comes from the service (/vendor/perspective, out of the installed wheel). Frames are folded into the table
// at most once per animation frame, so that a burst of epochs costs one redraw.

import { TOTAL, digitsFor, numberOf, textOf } from "./format.js";

const MODULE = "/vendor/perspective/perspective-anywidget.js";
const STYLE = "/vendor/perspective/perspective-anywidget.css";
const KEY = "__key__";
const DEPTH = "__depth__";

// What keeps totals out of a viewer that would add them up with their parts, or dwarf these.
export const withoutTotals = (shape) => [[DEPTH, "==", shape.levels.length]];

let loading = null;

// Resolves to Perspective's worker client, or rejects where the module or WebAssembly is missing.
export function perspective() {
  loading ??= load();
  return loading;
}

async function load() {
  if (typeof WebAssembly !== "object") throw new Error("this browser has no WebAssembly");
  const style = Object.assign(document.createElement("link"), { rel: "stylesheet", href: STYLE });
  document.head.append(style);
  const module = await import(MODULE);
  await module.ready;
  return module.worker();
}

export class CellTable {
  #table;
  #pending = new Map();
  #replaced = false;
  #scheduled = false;
  #stopped = false;
  #busy = Promise.resolve();

  static async create(worker, shape, cells) {
    const made = new CellTable();
    made.worker = worker;
    made.shape = shape;
    made.name = `cells${CellTable.#count++}`;
    const schema = { [KEY]: "string", [DEPTH]: "integer" };
    for (const { label, type } of shape.levels) schema[label] = columnType(type);
    for (const name of shape.measures) schema[name] = "float";
    made.#table = await worker.table(schema, { index: KEY, name: made.name });
    await made.#write(cells.rows.keys(), cells);
    return made;
  }

  static #count = 0;

  // Digits after the point per measure, from the cells of now.
  static digits(shape, cells) {
    const rows = [...cells.rows.values()];
    return shape.measures.map((_, i) => digitsFor(rows.map((row) => numberOf(row[i]))));
  }

  apply(delta, cells) {
    if (delta.snapshot) {
      this.#pending.clear();
      this.#replaced = true;
    }
    for (const key of delta.removed) this.#pending.set(key, false);
    for (const [key] of delta.changed) this.#pending.set(key, true);
    for (const key of delta.added) this.#pending.set(key, true);
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#busy = this.#busy.then(() => this.#flush(cells)).catch((error) => console.error(error));
    });
  }

  // Takes no more frames; resolves when none is being written.
  stop() {
    this.#stopped = true;
    return this.#busy;
  }

  delete() {
    return this.#table.delete({ lazy: true });
  }

  async #flush(cells) {
    if (this.#stopped) return;
    const pending = this.#pending;
    this.#pending = new Map();
    if (this.#replaced) {
      this.#replaced = false;
      await this.#table.clear();
      return this.#write(cells.rows.keys(), cells);
    }
    const gone = [...pending].filter(([, stays]) => !stays).map(([key]) => key);
    if (gone.length) await this.#table.remove(gone);
    return this.#write([...pending].filter(([, stays]) => stays).map(([key]) => key), cells);
  }

  async #write(keys, cells) {
    const rows = [];
    for (const key of keys) {
      const values = cells.rows.get(key);
      if (values) rows.push(this.#row(key, values));
    }
    if (rows.length) await this.#table.update(rows);
  }

  #row(key, values) {
    const levels = JSON.parse(key);
    const row = { [KEY]: key, [DEPTH]: levels.length };
    this.shape.levels.forEach(({ label, type }, i) => {
      const text = i < levels.length ? textOf(levels[i]) : ` ${TOTAL}`; // the blank sorts it before what it sums up
      row[label] = columnType(type) === "string" ? text : numberOf(levels[i]);
    });
    this.shape.measures.forEach((name, i) => { row[name] = numberOf(values[i]); });
    return row;
  }
}

// Numbers sort as numbers; all else, dates too, travels as ISO text, which sorts right and can say N/A.
function columnType(type) {
  return /^(INT|LONG|FLOAT|DOUBLE|DECIMAL)/.test(type) ? "float" : "string";
}
