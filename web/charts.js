// The last five minutes as lines: orders, latency, consumer lag. One point per second, bounded.

/** @import {OverviewState} from "./types.js" */

import { byId, el, setText, set } from "./lib/dom.js";
import { compact, duration, rate } from "./lib/format.js";
import { Ring } from "./lib/ring.js";
import { SERVICES, shortName } from "./lib/services.js";
import { overview, pendingOf } from "./model.js";
import uPlot from "./vendor/uplot/uPlot.esm.js";

/** One point per second for five minutes. */
const POINTS = 300;
const HEIGHT = 190;
/** The possible distances between the ticks of a scale. */
const STEPS = [1, 2, 5]
  .flatMap((digit) => [0, 1, 2, 3, 4, 5].map((power) => digit * 10 ** power))
  .sort((a, b) => a - b);
/** Columns: the time, two of orders, two of latency, and the pending messages of each service. */
const ring = new Ring(POINTS, 5 + SERVICES.length);

/**
 * @typedef {{place: string, columns: number[], names: string[], colours: string[], write: (value: number) => string,
 *   dash?: number[]}} Chart
 */

/** @type {Chart[]} */
const CHARTS = [
  {
    place: "chart-orders",
    columns: [1, 2],
    names: ["placed", "completed"],
    colours: ["--line-1", "--line-2"],
    write: (value) => `${rate(value)}/s`,
  },
  {
    place: "chart-latency",
    columns: [3, 4],
    names: ["p50", "p99"],
    colours: ["--line-2", "--line-3"],
    write: duration,
  },
  {
    place: "chart-pending",
    columns: SERVICES.map((_, index) => 5 + index),
    names: SERVICES.map(shortName),
    colours: ["--line-1", "--line-4", "--line-5", "--line-2", "--line-3", "--line-6"],
    write: compact,
  },
];

/** @type {Map<Chart, uPlot>} */
const plots = new Map();

/** Draws the charts once there is data. */
export function mountCharts() {
  let last = "";
  overview.watch(({ value: state, condition }) => {
    set(byId("charts"), { "data-condition": condition });
    if (state && state.at !== last) {
      last = state.at;
      record(state);
      for (const chart of CHARTS) draw(chart);
    }
    for (const chart of CHARTS) legend(chart);
  });
  const again = () => {
    for (const plot of plots.values()) plot.destroy();
    plots.clear();
    for (const chart of CHARTS) draw(chart);
  };
  document.addEventListener("themechange", again);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  const fit = new ResizeObserver(() => {
    for (const [chart, plot] of plots) plot.setSize({ width: widthOf(chart), height: HEIGHT });
  });
  for (const chart of CHARTS) fit.observe(byId(chart.place));
}

/** @param {OverviewState} state */
function record(state) {
  const now = Math.round(Date.parse(state.at) / 1000);
  const before = ring.columns[0]?.at(-1) ?? 0;
  // The lines have a gap while nothing was known.
  if (before && now - before > 3) ring.push([before + 1]);
  const { placedPerSecond, finalPerSecond, latencyMilliseconds } = state.orders;
  const pending = SERVICES.map((name) => {
    const service = state.services.find((known) => known.name === name);
    return service ? pendingOf(service) : null;
  });
  const { p50, p99 } = latencyMilliseconds;
  const row = [Math.max(now, before), placedPerSecond, finalPerSecond, p50, p99, ...pending];
  // Several states of one second arrive after a pause; the legend shows the latest, as the map does.
  if (now > before) ring.push(row);
  else ring.replace(row);
}

/** @param {Chart} chart */
function widthOf(chart) {
  return Math.max(120, Math.floor(byId(chart.place).clientWidth));
}

/** @param {Chart} chart */
function data(chart) {
  const times = ring.columns[0] ?? [];
  return /** @type {uPlot.AlignedData} */ ([
    times,
    ...chart.columns.map((column) => ring.columns[column] ?? []),
  ]);
}

/** @param {Chart} chart */
function draw(chart) {
  if (!ring.columns[0]?.length) return;
  const plot = plots.get(chart);
  if (plot) plot.setData(data(chart));
  else plots.set(chart, new uPlot(options(chart), data(chart), byId(chart.place)));
}

/**
 * The current values as text, also for screen readers. A dash if they are unknown.
 *
 * @param {Chart} chart
 */
function legend(chart) {
  const place = byId(`${chart.place}-legend`);
  if (!place.children.length) {
    chart.names.forEach((name, index) =>
      place.append(
        el(
          "li",
          { class: `key-${(chart.colours[index] ?? "").slice(2)}` },
          el("span", {}, name),
          el("b", {}),
        ),
      ),
    );
  }
  chart.columns.forEach((column, index) => {
    const value = overview.isCurrent ? ring.columns[column]?.at(-1) : null;
    const text = place.children[index]?.querySelector("b");
    if (text) setText(text, value === null || value === undefined ? "–" : chart.write(value));
  });
}

/**
 * @param {Chart} chart
 * @returns {uPlot.Options}
 */
function options(chart) {
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const font = `11px ${colour("--sans")}`;
  const axis = {
    stroke: colour("--muted"),
    font,
    ticks: { show: false },
    grid: { stroke: colour("--rule"), width: 1 },
  };
  return {
    width: widthOf(chart),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: (_, min, max) => [Math.max(min, max - POINTS), max] },
      y: { range: (_, __, max) => [0, Math.max(max * 1.15, 1)] },
    },
    axes: [
      { ...axis, size: 30, grid: { show: false }, space: 90, values: (_, times) => times.map(minute) },
      { ...axis, size: 58, incrs: STEPS, values: (_, values) => values.map((value) => chart.write(value)) },
    ],
    series: [
      {},
      ...chart.names.map((name, index) => ({
        label: name,
        stroke: colour(chart.colours[index] ?? ""),
        width: 2,
        points: { show: false },
      })),
    ],
  };
}

/** @param {number} seconds */
function minute(seconds) {
  const date = new Date(seconds * 1000);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
