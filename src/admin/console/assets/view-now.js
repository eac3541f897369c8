import { post } from './api.js';
import { confirm } from './dialogs.js';
import { button, card, h, replace, table } from './dom.js';
import { plot } from './plots.js';
import { momentOf, numberOf, words } from './words.js';

const all = (counts) => Object.values(counts).reduce((sum, one) => sum + one, 0);
const ms = (seconds) => (seconds === undefined ? undefined : seconds * 1000);
const MINUTE_SAMPLES = 30;

/** Connections, requests, denials and times as they are; live. */
export function nowView({ state, lookAgain }) {
  const tiles = h('dl', { class: 'tiles' });
  const requests = plot(words.plots.requests, ['2xx', '4xx', '5xx'].map((kind, index) => ({ name: words.statuses[kind], line: index + 1, value: ({ requests: counts }) => counts[kind] ?? 0 })));
  const latency = plot(words.plots.latency, [['p50', 1], ['p95', 2], ['p99', 3]].map(([name, line]) => ({ name, line, value: (sample) => ms(sample[name]) })), { unit: ' ms' });
  const connections = plot(words.plots.connections, [{ name: words.count, line: 1, value: ({ connections: counts }) => counts.reduce((sum, one) => sum + one.connections, 0) }]);
  const denials = plot(words.plots.denials, [{ name: words.results.denied, line: 3, value: ({ denials: counts }) => all(counts) }]);
  const byConnection = h('div');
  const byReason = h('div');
  const suspended = h('div');
  const drained = h('div');

  function live(samples) {
    for (const one of [requests, latency, connections, denials]) one.show(samples);
    const last = samples.at(-1);
    const minute = samples.slice(-MINUTE_SAMPLES).reduce((sum, sample) => sum + all(sample.denials), 0);
    const tile = (name, value, unit) => h('div', { class: 'tile' }, h('dt', {}, name), h('dd', {}, value === undefined ? '–' : numberOf(value), value === undefined || unit === undefined ? undefined : h('small', {}, unit)));
    replace(tiles,
      tile(words.tiles.connections, last?.connections.reduce((sum, one) => sum + one.connections, 0)), tile(words.tiles.requests, last === undefined ? undefined : all(last.requests), words.tiles.perSecond),
      tile(words.tiles.denied, last === undefined ? undefined : minute), tile(words.tiles.latency, ms(last?.p95), 'ms'));
    replace(byConnection, table(words.byConnection, [
      { name: words.listener, cell: (one) => one.listener }, { name: words.protocol, cell: (one) => one.protocol }, { name: words.role, cell: (one) => (one.role === 'none' ? words.noRole : one.role) }, { name: words.count, number: true, cell: (one) => numberOf(one.connections) },
    ], [...last?.connections ?? []].sort((left, right) => right.connections - left.connections), words.noConnections));
    const reasons = new Map();
    for (const sample of samples) for (const [reason, count] of Object.entries(sample.denials)) reasons.set(reason, (reasons.get(reason) ?? 0) + count);
    const most = Math.max(1, ...reasons.values());
    replace(byReason, table(words.byReason, [
      { name: words.reason, tight: true, cell: ([reason]) => h('code', {}, reason) }, { name: words.times, number: true, tight: true, cell: ([, count]) => numberOf(count) },
      { name: words.share, cell: ([, count]) => h('span', { class: 'meter bad', 'aria-hidden': 'true' }, h('svg', { viewBox: '0 0 100 1', preserveAspectRatio: 'none' }, h('rect', { width: (100 * count) / most, height: 1 }))) },
      { name: words.showRecords, unseen: true, tight: true, cell: ([reason]) => h('a', { href: `#/audit?find=${encodeURIComponent(reason)}`, 'aria-label': words.showRecordsOf(reason), 'data-key': reason }, words.showRecords) },
    ], [...reasons].sort((left, right) => right[1] - left[1]).slice(0, 12), words.noDenials));
  }

  function overview({ suspensions, draining }) {
    replace(drained, draining.length === 0 ? [] : card(words.drainingNow, {}, table(words.drainingNow, [
      { name: words.listener, cell: ({ listener }) => listener ?? words.allListeners }, { name: words.by, cell: ({ who }) => who }, { name: words.at, cell: ({ since }) => momentOf(since) },
      { name: words.undrain, unseen: true, tight: true, cell: (one) => state.may && button(words.undrain, () => undrain(one), { key: `drain ${one.listener ?? ''}`, label: `${words.undrain} ${one.listener ?? words.allListeners}` }) },
    ], draining, '')));
    replace(suspended, suspensions.length === 0 ? [] : card(words.suspendedNow, {}, table(words.suspendedNow, [
      { name: words.scope, cell: scopeText }, { name: words.why, cell: ({ reason }) => reason }, { name: words.by, cell: ({ who }) => who }, { name: words.until, cell: ({ expires }) => (expires === undefined ? words.openEnd : momentOf(expires)) },
      { name: words.resume, unseen: true, tight: true, cell: (one) => state.may && button(words.resume, () => resume(one), { key: scopeText(one), label: `${words.resume} ${scopeText(one)}` }) },
    ], suspensions, '')));
  }

  async function undrain({ listener }) {
    if (await confirm({ heading: words.dialog.undrainTitle, about: h('p', {}, listener ?? words.allListeners), deed: words.dialog.undrainDo, done: words.dialog.undrained, act: (reason) => post('/v1/drain/undo', { ...(listener === undefined ? {} : { listener }), reason }) })) lookAgain();
  }

  async function resume(one) {
    const call = one.isolate ? '/v1/isolate/lift' : '/v1/resume';
    const scope = Object.fromEntries((one.isolate ? ['network', 'device'] : ['route', 'listener', 'role', 'network', 'outside']).filter((key) => one[key] !== undefined).map((key) => [key, one[key]]));
    if (await confirm({ heading: words.dialog.resumeTitle, about: h('p', {}, scopeText(one)), deed: words.dialog.resumeDo, done: words.dialog.resumed, act: (reason) => post(call, { ...scope, reason }) })) lookAgain();
  }

  return {
    live, overview,
    content: [
      tiles, drained, suspended,
      h('div', { class: 'grid' }, card(words.plots.requests, { note: words.plots.requestsNote }, requests.element), card(words.plots.latency, { note: words.plots.latencyNote }, latency.element), card(words.plots.connections, {}, connections.element), card(words.plots.denials, { note: words.plots.denialsNote }, denials.element)),
      h('div', { class: 'grid' }, card(words.byConnection, {}, byConnection), card(words.byReason, { note: words.byReasonNote }, byReason)),
    ],
  };
}

function scopeText(one) {
  return ['device', 'route', 'listener', 'role', 'network'].filter((key) => one[key] !== undefined).map((key) => `${key} ${one[key]}`).concat(one.outside ? ['outside'] : [], one.isolate ? [words.isolated] : []).join(', ');
}
