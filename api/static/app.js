// The page: choose a cube's levels and measures, see its cells live in a grid and a chart, fed by one websocket.
//
// `window.gpuEngine` shows what the page holds: {epoch, cells: Map(key -> {measure: value}), lastChanged: [[key, measure]],
// view}; after each frame a "cells-changed" event on the document carries {epoch, snapshot, keys: lastChanged, added,
// removed}.

import { Cells } from "./cells.js";
import { CHART_KINDS } from "./chart.js";
import { Connection } from "./connection.js";
import { closePickersOutside, fillPicker, fillSelect } from "./controls.js";
import { get } from "./http.js";
import { MASTER, choose, heldAtFirst, levelIds, levelLabel, queryOf, readAddress, writeAddress } from "./query.js";
import { Status } from "./status.js";
import { watchTheme } from "./theme.js";
import { openViews } from "./views.js";

const byId = (id) => document.getElementById(id);
const status = new Status(byId("status"), byId("status-text"));
const page = { cube: null, branches: [MASTER], choice: null, views: null, live: null, paused: false, standing: null, chart: { kind: "Y Bar", measure: null } };

window.gpuEngine = { epoch: null, cells: new Map(), lastChanged: [], view: null };

async function start() {
  watchTheme(byId("theme"), () => page.views?.setTheme());
  closePickersOutside(document.querySelectorAll(".picker"));
  page.connection = new Connection(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/v1/live`);
  page.connection.addEventListener("state", (event) => status.state(event.detail));
  page.views = await openViews(byId("grid"), byId("chart"), { failed, missing: (text) => { page.standing = text; } });
  window.gpuEngine.view = page.views.name;
  page.cubes = (await get("/cubes")).cubes.map(({ name }) => name);
  if (!page.cubes.length) return notice("This session has no cube yet.");
  addEventListener("hashchange", guarded(follow));
  byId("cube").addEventListener("change", guarded(() => go({ cube: byId("cube").value, branch: page.choice.branch })));
  byId("branch").addEventListener("change", guarded(() => go({ ...page.choice, branch: byId("branch").value })));
  byId("totals").addEventListener("change", guarded(() => go({ ...page.choice, totals: byId("totals").checked })));
  byId("pause").addEventListener("click", () => pause(!page.paused));
  byId("across").addEventListener("change", guarded(() => go({ ...page.choice, across: byId("across").value || null })));
  for (const id of ["chart-measure", "chart-kind"]) byId(id).addEventListener("change", guarded(redrawChart));
  await follow();
}

// Shows what the address names.
async function follow() {
  const address = readAddress(location.hash);
  const name = page.cubes.includes(address.cube) ? address.cube : page.cubes[0];
  page.cube = await get(`/cubes/${encodeURIComponent(name)}`);
  page.branches = (await get("/branches")).branches.map((branch) => branch.name);
  page.choice = choose(page.cube, page.branches, address);
  const missing = [...(address.cube && address.cube !== name ? [address.cube] : []), ...page.choice.unknown];
  notice(missing.length ? `Not there, and left out: ${missing.join(", ")}.` : null);
  showControls();
  subscribe();
}

// Goes to a choice: through the address, so that it can be shared and the back button works.
function go(choice) {
  location.hash = writeAddress({ ...choice, across: choice.levels?.includes(choice.across) ? choice.across : null });
}

// Holds the cells still, or lets them go on with all that was missed as one change.
function pause(paused) {
  if (page.live === null || paused === page.paused) return;
  page.connection.pause(page.live, paused);
  showPaused(paused);
}

function showPaused(paused) {
  page.paused = paused;
  const button = byId("pause");
  button.textContent = paused ? "▶" : "❚❚";
  button.title = button.ariaLabel = paused ? "Resume" : "Pause";
  if (!paused) status.pause(false);
}

function redrawChart() {
  page.chart = { measure: byId("chart-measure").value, kind: byId("chart-kind").value };
  return page.views.redraw(page.chart);
}

function showControls() {
  const { cube, choice } = page;
  const ids = levelIds(cube);
  fillSelect(byId("cube"), page.cubes.map((name) => [name, name]), cube.name);
  const levels = [...ids].map(([id, level]) => [id, levelLabel(id), level.hierarchy === level.name ? "" : level.hierarchy]);
  fillPicker(byId("levels"), "Levels", levels, choice.levels, 0, (chosen) => go({ ...page.choice, levels: chosen }));
  fillPicker(byId("measures"), "Measures", cube.measures.map((name) => [name, name, ""]), choice.measures, 1, (chosen) => go({ ...page.choice, measures: chosen }));
  const across = choice.levels.length > 1 ? choice.levels.map((id) => [id, levelLabel(id)]) : [];
  fillSelect(byId("across"), [["", "no level"], ...across], choice.across ?? "");
  if (!choice.measures.includes(page.chart.measure)) page.chart.measure = choice.measures[0];
  byId("totals").checked = choice.totals;
  fillSelect(byId("branch"), page.branches.map((name) => [name, name]), choice.branch);
  byId("branch").parentElement.hidden = page.branches.length < 2;
  fillSelect(byId("chart-measure"), choice.measures.map((name) => [name, name]), page.chart.measure);
  fillSelect(byId("chart-kind"), CHART_KINDS, page.chart.kind);
}

// Replaces the live query by that of the present choice.
function subscribe() {
  if (page.live !== null) page.connection.unsubscribe(page.live);
  const { cube, choice } = page;
  const ids = levelIds(cube);
  const shape = {
    levels: choice.levels.map((id) => ({ label: levelLabel(id), type: ids.get(id).type, descending: ids.get(id).order === "descending" })),
    measures: choice.measures,
    totals: choice.totals,
    held: heldAtFirst(cube, choice),
  };
  showPaused(false);
  const cells = new Cells();
  let shown = false;
  page.live = page.connection.subscribe(cube.name, queryOf(cube, choice), {
    frame(frame) {
      const delta = cells.fold(frame);
      if (shown) page.views.apply(delta, cells);
      else page.views.show(shape, cells, choice.across && levelLabel(choice.across), page.chart);
      shown = true;
      announce(delta, cells, shape);
    },
    paused: () => status.pause(page.paused),
    failed: ({ message }) => notice(message),
  });
}

// Tells the status line, `window.gpuEngine` and whoever listens what a frame changed.
function announce(delta, cells, { measures }) {
  const changed = delta.changed.map(([key, i]) => [key, measures[i]]);
  const added = delta.snapshot ? [] : delta.added.flatMap((key) => measures.map((name) => [key, name]));
  const state = window.gpuEngine;
  state.epoch = cells.epoch;
  state.lastChanged = [...changed, ...added];
  if (delta.snapshot) state.cells = new Map();
  for (const key of delta.removed) state.cells.delete(key);
  for (const key of new Set([...delta.added, ...delta.changed.map(([at]) => at)])) {
    state.cells.set(key, Object.fromEntries(measures.map((name, i) => [name, cells.rows.get(key)[i]])));
  }
  status.changed(cells.epoch, state.lastChanged.length + delta.removed.length);
  document.dispatchEvent(new CustomEvent("cells-changed", {
    detail: { epoch: cells.epoch, snapshot: delta.snapshot, keys: state.lastChanged, added: delta.added, removed: delta.removed },
  }));
}

// One line of what the person should know; `standing` is said whatever else there is.
function notice(text) {
  const shown = [page.standing, text].filter(Boolean).join(" ");
  byId("notice").hidden = !shown;
  byId("notice").textContent = shown;
}

function failed(error) {
  console.error(error);
  notice(error.message);
}

const guarded = (action) => async () => { try { await action(); } catch (error) { failed(error); } };

start().catch(failed);
