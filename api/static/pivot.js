// The grid: Perspective's Datagrid over the cells, rows by level, one level across if asked; changed cells pulse.
//
// Groups are flat: every row is one cell of the cube, and nothing is added up in the browser: "unique" shows the value of
// the one cell, and null where there is none.

import { formatOf } from "./format.js";

export async function drawPivot(viewer, table, shape, across, digits, theme) {
  const down = shape.levels.map(({ label }) => label).filter((label) => label !== across);
  await viewer.restore({
    table: table.name,
    plugin: "Datagrid",
    plugin_config: { edit_mode: "READ_ONLY" },
    group_by: down,
    split_by: across ? [across] : [],
    group_rollup_mode: "flat",
    columns: shape.measures,
    aggregates: Object.fromEntries(shape.measures.map((name) => [name, "unique"])),
    columns_config: Object.fromEntries(
      shape.measures.map((name, i) => [name, { bg_mode: "pulse", fg_mode: "disabled", number_format: formatOf(digits[i]) }]),
    ),
    settings: false,
    theme,
    title: [down.join(" › ") || "Total", across && `by ${across}`, ...shape.held.map((name) => `· first ${name}`)].filter(Boolean).join(" "),
  });
}
