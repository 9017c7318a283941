// The charts of the telemetry page. Each has a table beside it, which is all there is without script.
"use strict";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const share = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);
const dollars = (value) => (value === null ? "–" : `$${value.toPrecision(3)}`);
const utc = (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC");
const HEIGHT = 260;

const axis = (label, more = {}) => ({
  label, labelSize: 20, labelFont: "12px system-ui", font: "12px system-ui", stroke: css("--quiet"),
  grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, ...more,
});
const dots = (label, colour, size = 5) => ({
  label, stroke: colour, paths: () => null, points: { show: true, size, stroke: colour, fill: colour },
});
const line = (label, colour, more = {}) => ({ label, stroke: colour, width: 2, spanGaps: true, points: { show: true, size: 5 }, ...more });

// Of a logarithmic axis the powers of ten; of days their dates, of hours the hour, as everywhere here in UTC.
const powers = (_, splits) => splits.map((each) => (Number.isInteger(Math.log10(each)) ? each : null));
const logarithmic = (label, more = {}) => axis(label, { filter: powers, grid: { stroke: css("--line"), width: 1, filter: powers }, ticks: { show: false }, ...more });
const moments = (_, splits, __, ___, step) => splits.map((each) => {
  const text = new Date(each * 1e3).toISOString();
  return step >= 86400 ? text.slice(5, 10) : text.slice(11, 16);
});

const estimates = (data) => ({
  options: {
    scales: { x: { time: false, distr: 3 }, y: { distr: 3 } },
    axes: [logarithmic("estimate"), logarithmic("actual", { size: 60 })],
    series: [
      { label: "estimate" }, dots("actual", css("--fill-busy")), dots("cut at", css("--fill-bad"), 6),
      { label: "as estimated", stroke: css("--quiet"), width: 1, dash: [4, 4], points: { show: false } },
    ],
  },
  data: [data.predicted, data.whole, data.cut, data.predicted],
});
const truncation = (data) => ({
  options: {
    tzDate: utc,
    scales: { y: { range: (_, __, most) => [0, Math.max(0.1, most * 1.15)] } },
    axes: [axis("", { values: moments }), axis("", { size: 60, values: (_, ticks) => ticks.map((each) => `${+(100 * each).toFixed(1)} %`) })],
    series: [
      { label: "when" }, line("all", css("--fill-busy"), { value: (_, each) => share(each) }),
      line("with a promise", css("--fill-wait"), { value: (_, each) => share(each) }),
      { label: "target", stroke: css("--fill-bad"), width: 1, dash: [6, 4], spanGaps: true, points: { show: false }, value: (_, each) => share(each) },
    ],
  },
  data: [data.at, data.answers, data.promised, data.target],
});
const cost = (data) => ({
  options: {
    tzDate: utc,
    scales: { x: { range: (_, first, last) => [first - 43200, last + 43200] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [axis("", { values: moments }), axis("", { size: 70, values: (_, ticks) => ticks.map((each) => `$${+each.toPrecision(3)}`) })],
    series: [
      { label: "day" },
      { label: "known cost", stroke: css("--fill-busy"), fill: css("--fill-busy"), paths: uPlot.paths.bars({ size: [0.7, 40] }), points: { show: false }, value: (_, each) => dollars(each) },
    ],
  },
  data: [data.at, data.usd],
});

const KINDS = { estimates: [estimates, (data) => data.predicted], truncation: [truncation, (data) => data.at], cost: [cost, (data) => data.at] };
let drawn = [];
let known = null;

const draw = () => {
  for (const each of drawn) each.destroy();
  drawn = [];
  for (const [name, [make, xs]] of Object.entries(KINDS)) {
    const place = document.getElementById(`chart-${name}`);
    if (!xs(known[name]).length) { place.textContent = "Nothing to draw yet."; continue; }
    place.textContent = "";
    const { options, data } = make(known[name]);
    drawn.push(new uPlot({ width: place.clientWidth, height: HEIGHT, ...options }, data, place));
  }
};

document.addEventListener("DOMContentLoaded", async () => {
  const source = document.getElementById("charts")?.dataset.source;
  if (!source) return;
  try {
    const answer = await fetch(source, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    known = await answer.json();
  } catch (error) {
    for (const place of document.querySelectorAll(".chart")) place.textContent = `The chart's data did not come (${error.message}); the table has it.`;
    return;
  }
  draw();
  new ResizeObserver(() => {
    for (const each of drawn) each.setSize({ width: each.root.parentElement.clientWidth, height: HEIGHT });
  }).observe(document.getElementById("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
});
