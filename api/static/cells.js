// The cells of one live query, folded from the frames of the websocket.
//
// A cell's key is the JSON of its level values, of a total only those that it names; its row holds the measures' values.
// `fold` says what a frame really changed: which rows came and went, and of each changed row which measures.

export class Cells {
  rows = new Map();
  epoch = null;

  // frame -> {snapshot, added: [key], removed: [key], changed: [[key, measure index, old value]]}
  fold(frame) {
    const depth = frame.levels.length;
    const end = depth + frame.measures.length;
    const key = (row) => JSON.stringify(row.slice(0, row[end] ?? depth));
    if (frame.type === "snapshot") this.rows.clear();
    const removed = frame.removed.map(key);
    for (const gone of removed) this.rows.delete(gone);
    const changed = [];
    for (const row of frame.changed) {
      const at = key(row);
      const before = this.rows.get(at) ?? [];
      const now = row.slice(depth, end);
      now.forEach((value, i) => { if (value !== before[i]) changed.push([at, i, before[i] ?? null]); });
      this.rows.set(at, now);
    }
    const added = frame.added.map((row) => { const at = key(row); this.rows.set(at, row.slice(depth, end)); return at; });
    this.epoch = frame.epoch;
    return { snapshot: frame.type === "snapshot", added, removed, changed };
  }
}
