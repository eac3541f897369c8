import { get } from './api.js';
import { revoke, showConnections } from './dialogs.js';
import { button, card, chip, h, replace, table, under } from './dom.js';
import { ago, dayOf, numberOf, words } from './words.js';

const DAY = 86_400_000;
const URGENT = 7;
const SOON = 30;
/** Where marks are on the time line, in days; what is further away matters less, so the line shortens it. */
const MARKS = [7, 30, 90, 365, 1_825, 3_650];
const LABELS = { 7: words.span.d(7), 30: words.span.d(30), 90: words.span.m(3), 365: words.span.y(1), 1_825: words.span.y(5), 3_650: words.span.y(10) };

const daysLeft = (time) => (new Date(time).getTime() - Date.now()) / DAY;
const urgency = (time) => (daysLeft(time) < URGENT ? 'bad' : daysLeft(time) < SOON ? 'warn' : 'good');

/** What ends when, and who is connected with what. */
export function certificatesView({ state, redraw }) {
  const line = h('div');
  const held = h('div');
  const clients = h('div');

  async function load() {
    const found = await get('/v1/certificates');
    replace(line, timeline(found.held));
    replace(held, table(words.held, [
      { name: words.use, cell: ({ use, kind }) => under(use, words.kinds[kind]) }, { name: words.subject, cell: ({ subject }) => subject },
      { name: words.ends, cell: ({ not_after: end }) => under(dayOf(end), ago(end)) }, { name: words.state, tight: true, cell: ({ not_after: end }) => ending(end) },
    ], found.held, ''));
    replace(clients, table(words.clients, [
      { name: words.client, cell: (one) => under(one.id ?? one.subject, one.role ?? words.noRole, one.id === undefined ? undefined : one.subject) },
      { name: words.addresses, cell: ({ addresses }) => addresses.join(', ') }, { name: words.count, number: true, tight: true, cell: ({ connections }) => numberOf(connections) },
      { name: words.ends, cell: ({ not_after: end }) => under(dayOf(end), ago(end)) },
      { name: words.connectionsOf, unseen: true, tight: true, cell: (one) => h('div', { class: 'actions' },
        button(words.connectionsOf, () => showConnections(one), { key: `see ${one.fingerprint}`, label: words.connectionsOfWhom(one.id ?? one.subject) }),
        state.may && button(words.revoke, async () => (await revoke(one)) && redraw(), { kind: 'danger', key: `revoke ${one.fingerprint}`, label: words.revokeWhom(one.id ?? one.subject) })) },
    ], found.clients, words.noClients));
  }

  return { load, content: [card(words.timeline, { note: words.timelineNote }, line), card(words.clients, { note: words.clientsNote }, clients), card(words.held, {}, held)] };
}

function ending(end) {
  const kind = urgency(end);
  return chip(kind, daysLeft(end) <= 0 ? words.ended : kind === 'good' ? words.valid : words.endsSoon);
}

const WIDTH = 900;
const HEIGHT = 92;
const place = (days) => 20 + (WIDTH - 60) * Math.min(1, Math.log1p(Math.max(0, days) / 5) / Math.log1p(MARKS.at(-1) / 5));

/** Dots on a line that begins today; those that end together stand above each other. */
function timeline(held) {
  const base = HEIGHT - 24;
  const stacked = new Map();
  const dots = held.map(({ use, not_after: end }) => {
    const x = Math.round(place(daysLeft(end)) / 11) * 11;
    const above = stacked.get(x) ?? 0;
    stacked.set(x, above + 1);
    return h('circle', { cx: x, cy: base - 9 - Math.min(above, 4) * 11, r: 4.5, class: urgency(end) }, h('title', {}, `${use}: ${dayOf(end)}`));
  });
  const first = held[0];
  return h('svg', { class: 'timeline', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': words.timelineOf(held.length, first === undefined ? '–' : `${first.use}, ${dayOf(first.not_after)}`) },
    h('line', { class: 'axis', x1: 0, x2: WIDTH, y1: base, y2: base }), h('line', { class: 'today', x1: place(0), x2: place(0), y1: 6, y2: base }), h('text', { x: place(0), y: HEIGHT - 6, 'text-anchor': 'middle' }, words.today),
    MARKS.map((days) => [h('line', { class: 'axis', x1: place(days), x2: place(days), y1: base - 4, y2: base + 4 }), h('text', { x: place(days), y: HEIGHT - 6, 'text-anchor': 'middle' }, LABELS[days])]), dots);
}
