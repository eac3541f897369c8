import { h } from './dom.js';
import { numberOf, timeOf, words } from './words.js';

const HEIGHT = 170;
/** Over less than that, minutes alone would all be the same. */
const SHORT_MS = 300_000;
/** A plot that has just begun spans this much, in seconds: uPlot would show a day. */
const LEAST_S = 60;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A plot of samples over time with its legend in words. `curves`: { name, line (1 to 4), value(sample) }. What it shows stands in its label as well, for those
 * who do not see it.
 */
export function plot(title, curves, { unit = '' } = {}) {
  const figure = h('div', { class: 'plot', role: 'img', 'aria-label': title });
  const legend = h('ul', { class: 'legend' });
  const element = h('figure', {}, figure, legend);
  let chart;
  let samples = [];

  function draw() {
    chart?.destroy();
    chart = undefined;
    if (samples.length === 0 || figure.clientWidth === 0) return;
    const axis = { stroke: color('--soft'), grid: { stroke: color('--rule'), width: 1 }, ticks: { show: false }, font: '11px system-ui' };
    chart = new globalThis.uPlot({
      width: figure.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { y: false, points: { size: 6 } }, padding: [8, 30, 0, 0], scales: { x: { range: span }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.15)] } },
      axes: [{ ...axis, grid: { show: false }, values: (_, marks) => marks.map((mark) => (samples.at(-1).at - samples[0].at < SHORT_MS ? timeOf(mark * 1000) : timeOf(mark * 1000).slice(0, 5))), space: 80, size: 26 }, { ...axis, size: 44, values: (_, marks) => marks.map((mark) => numberOf(mark)) }],
      series: [{}, ...curves.map(({ line }) => ({ stroke: color(`--line-${line}`), width: 1.75, points: { show: (_, __, first, last) => first === last, size: 5 }, spanGaps: true }))],
    }, data(), figure);
  }

  /** From when to when, in seconds. */
  const span = () => {
    const last = samples.at(-1).at / 1000;
    return [Math.min(samples[0].at / 1000, last - LEAST_S), last];
  };
  const data = () => [samples.map(({ at }) => at / 1000), ...curves.map(({ value }) => samples.map((sample) => value(sample) ?? null))];

  new ResizeObserver(() => {
    if (chart === undefined) draw();
    else chart.setSize({ width: figure.clientWidth, height: HEIGHT });
  }).observe(figure);
  for (const query of ['(prefers-color-scheme: dark)']) matchMedia(query).addEventListener('change', draw);
  document.addEventListener('wardgate-theme', draw);

  return {
    element,
    show(next) {
      samples = next;
      if (chart === undefined) draw();
      else chart.setData(data());
      const last = samples.at(-1);
      const told = curves.map(({ name, value }) => [name, last === undefined ? undefined : value(last)]);
      legend.replaceChildren(...curves.map(({ name, line }, index) => h('li', {}, h('span', { class: `swatch l${line}`, 'aria-hidden': 'true' }), name, h('b', {}, told[index][1] === undefined ? '–' : `${numberOf(told[index][1])}${unit}`))));
      figure.setAttribute('aria-label', last === undefined ? `${title}. ${words.plots.none}` : words.plots.of(title, timeOf(samples[0].at)) + told.map(([name, value]) => `${name} ${value === undefined ? '–' : numberOf(value)}${unit}`).join(', '));
    },
  };
}
