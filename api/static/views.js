// What shows the cells: Perspective's grid and chart, or the plain table where these cannot run or ?view=table asks for it.

import { drawChart } from "./chart.js";
import { CellTable, perspective } from "./perspective.js";
import { drawPivot } from "./pivot.js";
import { TableView } from "./table.js";
import { perspectiveTheme } from "./theme.js";

// `missing(text)` is told why Perspective cannot run, `failed(error)` what goes wrong later.
export async function openViews(gridHost, chartHost, { failed, missing }) {
  if (new URLSearchParams(location.search).get("view") !== "table") {
    try {
      return await PerspectiveViews.open(gridHost, chartHost, failed);
    } catch (error) {
      chartHost.hidden = true;
      missing(`The grid and the chart cannot run here (${error.message}). This is the plain table.`);
    }
  }
  return new TableView(gridHost);
}

class PerspectiveViews {
  name = "perspective";
  #shown = null;
  #wanted = null;
  #queue = Promise.resolve();

  static async open(gridHost, chartHost, failed) {
    const made = new PerspectiveViews();
    Object.assign(made, { gridHost, chartHost, failed });
    made.worker = await perspective();
    chartHost.hidden = false;
    return made;
  }

  // Shows other cells. Frames that arrive while the viewers are being set up wait in `late`; a choice that has been
  // replaced by then is passed over.
  show(shape, cells, across, chart) {
    const wanted = this.#wanted = { shape, across, chart, table: null, ready: false, late: [] };
    this.#next(async () => {
      if (wanted !== this.#wanted) return;
      await this.#clear();
      const table = wanted.table = await CellTable.create(this.worker, shape, cells);
      wanted.grid = await this.#viewer(this.gridHost);
      wanted.plot = await this.#viewer(this.chartHost);
      this.#shown = wanted;
      await drawPivot(wanted.grid, table, shape, across, CellTable.digits(shape, cells), perspectiveTheme());
      await drawChart(wanted.plot, table, shape, across, wanted.chart, perspectiveTheme());
      for (const delta of wanted.late) table.apply(delta, cells);
      wanted.ready = true;
    });
  }

  apply(delta, cells) {
    const { table, ready, late } = this.#wanted;
    if (ready) table.apply(delta, cells);
    else late.push(delta);
  }

  redraw(chart) {
    if (!this.#wanted) return;
    this.#wanted.chart = chart;
    this.#next(() => {
      if (!this.#shown) return null;
      const { plot, table, shape, across } = this.#shown;
      return drawChart(plot, table, shape, across, this.#shown.chart, perspectiveTheme());
    });
  }

  setTheme() {
    const theme = perspectiveTheme();
    this.#next(() => Promise.all([this.#shown?.grid.restore({ theme }), this.#shown?.plot.restore({ theme })]));
  }

  // Takes down what is shown, in an order that leaves nothing drawing from what is gone: a viewer that is merely told to
  // show another table sometimes still draws from the old one, and fails for ever once that is deleted.
  async #clear() {
    const { grid, plot, table } = this.#shown ?? {};
    this.#shown = null;
    await table?.stop();
    for (const viewer of [grid, plot]) {
      await viewer?.flush();
      await viewer?.delete();
      viewer?.remove();
    }
    await table?.delete();
  }

  async #viewer(host) {
    const viewer = document.createElement("perspective-viewer");
    host.append(viewer);
    await viewer.load(this.worker);
    return viewer;
  }

  // One change of the viewers after the other.
  #next(change) {
    this.#queue = this.#queue.then(change).catch(this.failed);
  }
}
