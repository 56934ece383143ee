// The plain view: an HTML table whose changed cells blink. Serves with ?view=table, and where Perspective cannot run.

import { ABSENT, TOTAL, digitsFor, formatOf, numberOf, textOf } from "./format.js";

const BLINK_MS = 1_000;
const MAX_ROWS = 1_000;

export class TableView {
  name = "table";
  #host;
  #rows = new Map();
  #blinks = new WeakMap();

  constructor(host) {
    this.#host = host;
    host.dataset.view = "table";
  }

  // shape: {levels: [{label, descending}], measures: [name]}
  show(shape, cells) {
    this.shape = shape;
    this.#rows.clear();
    const table = this.#table = document.createElement("table");
    table.className = "cells";
    const head = table.createTHead().insertRow();
    for (const { label } of shape.levels) head.append(element("th", label, "level"));
    for (const name of shape.measures) head.append(element("th", name));
    this.#body = table.createTBody();
    this.#host.replaceChildren(table);
    this.#fill(cells);
  }

  apply(delta, cells) {
    if (delta.snapshot) return this.#fill(cells);
    const blinks = [];
    for (const key of delta.removed) { this.#rows.get(key)?.remove(); this.#rows.delete(key); }
    for (const [key, i, before] of delta.changed) {
      const td = this.#cell(key, i);
      if (!td) continue;
      const value = cells.rows.get(key)[i];
      this.#write(td, value, i);
      blinks.push([td, Math.sign(numberOf(value) - numberOf(before))]);
    }
    if (delta.added.length) {
      this.#place(cells, new Set(delta.added));
      for (const key of delta.added) for (const td of this.#rows.get(key)?.querySelectorAll("td") ?? []) blinks.push([td, 0]);
    }
    this.#blink(blinks);
    this.#caption(cells);
  }

  // Colours follow the page's style sheet, and there is no chart.
  setTheme() {}
  redraw() {}

  #table;
  #body;
  #formats = [];
  #turn = 0;

  #fill(cells) {
    this.#formats = this.shape.measures.map((_, i) => {
      const digits = digitsFor([...cells.rows.values()].map((row) => numberOf(row[i])));
      return new Intl.NumberFormat(undefined, formatOf(digits));
    });
    this.#rows.clear();
    this.#body.replaceChildren();
    this.#place(cells, new Set(cells.rows.keys()));
    this.#caption(cells);
  }

  // Makes the rows of `fresh` and puts all rows into level order.
  #place(cells, fresh) {
    const keys = [...this.#rows.keys(), ...fresh].map((key) => [key, JSON.parse(key)]);
    keys.sort(([, left], [, right]) => this.#compare(left, right));
    keys.slice(0, MAX_ROWS).forEach(([key, values], at) => {
      const row = this.#rows.get(key) ?? this.#make(key, values, cells.rows.get(key));
      if (this.#body.rows[at] !== row) this.#body.insertBefore(row, this.#body.rows[at] ?? null);
    });
    for (const [key] of keys.slice(MAX_ROWS)) { this.#rows.get(key)?.remove(); this.#rows.delete(key); }
  }

  #make(key, levels, values) {
    const row = document.createElement("tr");
    row.dataset.key = key;
    row.classList.toggle("total", levels.length < this.shape.levels.length);
    this.shape.levels.forEach((_, i) => {
      const named = i < levels.length;
      const th = element("th", named ? textOf(levels[i]) : i === levels.length ? TOTAL : "", "level");
      th.toggleAttribute("data-absent", named && levels[i] === null);
      row.append(th);
    });
    values.forEach((value, i) => {
      const td = element("td", "");
      td.dataset.measure = this.shape.measures[i];
      this.#write(td, value, i);
      row.append(td);
    });
    this.#rows.set(key, row);
    return row;
  }

  // A total comes before what it sums up.
  #compare(left, right) {
    for (let i = 0; i < Math.min(left.length, right.length); i++) {
      const order = compareValues(left[i], right[i]);
      if (order) return this.shape.levels[i].descending && left[i] !== null && right[i] !== null ? -order : order;
    }
    return left.length - right.length;
  }

  #cell(key, i) {
    return this.#rows.get(key)?.cells[this.shape.levels.length + i];
  }

  #write(td, value, i) {
    td.textContent = value === null ? ABSENT : Array.isArray(value) ? JSON.stringify(value) : this.#formats[i].format(Number(value));
    td.toggleAttribute("data-absent", value === null);
  }

  // Lets cells blink for a while, anew if they blink already: the two classes name equal animations, so that changing
  // from one to the other starts it again without a layout in between.
  #blink(cells) {
    const turn = ++this.#turn;
    for (const [td, direction] of cells) {
      td.className = `blink ${td.classList.contains("odd") ? "even" : "odd"} ${["down", "", "up"][direction + 1] ?? ""}`;
      this.#blinks.set(td, turn);
    }
    setTimeout(() => {
      for (const [td] of cells) if (this.#blinks.get(td) === turn) td.classList.remove("blink", "odd", "even", "up", "down");
    }, BLINK_MS);
  }

  #caption(cells) {
    const more = cells.rows.size - this.#rows.size;
    this.#table.deleteCaption();
    if (cells.rows.size === 0) this.#table.createCaption().textContent = "No cells yet.";
    else if (more > 0) this.#table.createCaption().textContent = `${more.toLocaleString()} more rows are not shown.`;
  }
}

function compareValues(left, right) {
  if (left === right) return 0;
  if (left === null) return 1;
  if (right === null) return -1;
  return left < right ? -1 : 1;
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}
