// The chart: one measure of the same cells, drawn by Perspective.

import { withoutTotals } from "./perspective.js";

export const CHART_KINDS = [["Y Bar", "Columns"], ["X Bar", "Bars"], ["Y Line", "Line"], ["Y Area", "Area"], ["Treemap", "Treemap"]];

export async function drawChart(viewer, table, shape, across, { measure, kind }, theme) {
  const labels = shape.levels.map(({ label }) => label);
  await viewer.restore({
    table: table.name,
    plugin: kind,
    group_by: labels.filter((label) => label !== across),
    split_by: across ? [across] : [],
    group_rollup_mode: "flat",
    columns: [measure],
    filter: withoutTotals(shape),
    aggregates: { [measure]: "unique" },
    settings: false,
    theme,
    title: measure,
  });
}
