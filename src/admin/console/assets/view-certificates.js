import { get } from './api.js';
import { revoke, showConnections } from './dialogs.js';
import { button, card, chip, h, replace, table, under } from './dom.js';
import { ago, dayOf, numberOf, words } from './words.js';

const DAY = 86_400_000;
const URGENT = 7;
const SOON = 30;
/** What is asked for at a time: the first to end. */
const MOST = 300;
/** Where marks are on the time line, in days; what is further away matters less, so the line shortens it. */
const MARKS = [7, 30, 90, 365, 1_825, 3_650];
const LABELS = { 7: words.span.d(7), 30: words.span.d(30), 90: words.span.m(3), 365: words.span.y(1), 1_825: words.span.y(5), 3_650: words.span.y(10) };

const daysLeft = (time) => (new Date(time).getTime() - Date.now()) / DAY;

/** By the tiers that somebody has configured, where it is in one. CRLs live for hours: only their own tiers say what is late for them. */
function urgency({ not_after: end, tier, use, quiet }) {
  const left = daysLeft(end);
  if (left <= 0) return 'bad';
  if (quiet) return 'good';
  if (use === 'crl') return tier === undefined ? 'good' : 'warn';
  return left < URGENT ? 'bad' : tier !== undefined || left < SOON ? 'warn' : 'good';
}

/** What ends when, and who is connected with what. */
export function certificatesView({ state, redraw }) {
  const line = h('div');
  const held = h('div');
  const clients = h('div');
  const find = h('input', { type: 'search', id: 'find-client', oninput: () => later() });
  let timer;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(redraw, 300);
  };

  async function load() {
    const [ending, found] = await Promise.all([get('/v1/expiry', { most: MOST }), get('/v1/clients', { find: find.value.trim() })]);
    replace(line, timeline(ending.certificates));
    replace(held, table(words.held, [
      { name: words.subject, cell: ({ name, use }) => under(name, words.uses[use]) }, { name: words.use, cell: ({ places, id, role }) => [...places, ...id === undefined ? [] : [`${role} ${id}`]].join(', ') },
      { name: words.ends, cell: ({ not_after: end }) => under(dayOf(end), ago(end)) },
      { name: words.state, cell: ({ told, ...entry }) => under(stateOf(entry), told === undefined ? undefined : words.toldOf(told.channels.join(', '), ago(told.at))) },
    ], ending.certificates, words.noneHeld), ending.more > 0 && h('p', { class: 'empty' }, words.andMore(ending.more)));
    replace(clients, table(words.clients, [
      { name: words.client, cell: (one) => under(one.id ?? one.subject, one.role ?? words.noRole, one.id === undefined ? undefined : one.subject) },
      { name: words.addresses, cell: ({ addresses }) => addresses.join(', ') }, { name: words.count, number: true, tight: true, cell: ({ connections }) => numberOf(connections) },
      { name: words.ends, cell: ({ not_after: end }) => under(dayOf(end), ago(end)) },
      { name: words.connectionsOf, unseen: true, tight: true, cell: (one) => h('div', { class: 'actions' },
        button(words.connectionsOf, () => showConnections(one), { key: `see ${one.fingerprint}`, label: words.connectionsOfWhom(one.id ?? one.subject) }),
        state.may && button(words.revoke, async () => (await revoke(one)) && redraw(), { kind: 'danger', key: `revoke ${one.fingerprint}`, label: words.revokeWhom(one.id ?? one.subject) })) },
    ], found.clients, words.noClients), found.more && h('p', { class: 'empty' }, words.moreClients));
  }

  return { load, content: [card(words.timeline, { note: words.timelineNote }, line), card(words.clients, { note: words.clientsNote, aside: h('div', { class: 'filters' }, h('label', { for: 'find-client' }, words.find, find)) }, clients), card(words.held, {}, held)] };
}

function stateOf(entry) {
  const kind = urgency(entry);
  if (daysLeft(entry.not_after) <= 0) return chip(kind, words.ended);
  return chip(kind, entry.quiet ? words.replaced : kind === 'good' ? words.valid : words.endsSoon);
}

const WIDTH = 900;
const HEIGHT = 92;
const place = (days) => 20 + (WIDTH - 60) * Math.min(1, Math.log1p(Math.max(0, days) / 5) / Math.log1p(MARKS.at(-1) / 5));

/** Dots on a line that begins today; those that end together stand above each other. */
function timeline(held) {
  const base = HEIGHT - 24;
  const stacked = new Map();
  const dots = held.map((entry) => {
    const { name, places, not_after: end } = entry;
    const x = Math.round(place(daysLeft(end)) / 11) * 11;
    const above = stacked.get(x) ?? 0;
    stacked.set(x, above + 1);
    return h('circle', { cx: x, cy: base - 9 - Math.min(above, 4) * 11, r: 4.5, class: urgency(entry) }, h('title', {}, `${places[0] ?? name}: ${dayOf(end)}`));
  });
  const first = held[0];
  return h('svg', { class: 'timeline', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': words.timelineOf(held.length, first === undefined ? '–' : `${first.places[0] ?? first.name}, ${dayOf(first.not_after)}`) },
    h('line', { class: 'axis', x1: 0, x2: WIDTH, y1: base, y2: base }), h('line', { class: 'today', x1: place(0), x2: place(0), y1: 6, y2: base }), h('text', { x: place(0), y: HEIGHT - 6, 'text-anchor': 'middle' }, words.today),
    MARKS.map((days) => [h('line', { class: 'axis', x1: place(days), x2: place(days), y1: base - 4, y2: base + 4 }), h('text', { x: place(days), y: HEIGHT - 6, 'text-anchor': 'middle' }, LABELS[days])]), dots);
}
