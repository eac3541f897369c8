import { get, post } from './api.js';
import { confirm } from './dialogs.js';
import { button, card, chip, h, replace, table, under } from './dom.js';
import { ago, momentOf, numberOf, words } from './words.js';

const SOON_MS = 3_600_000;

/** Each source, its age and its size, and what is denied by order. */
export function revocationView({ state, redraw }) {
  const sources = h('div');
  const responders = h('div');
  const denied = h('div');
  const note = h('span');
  const find = h('input', { type: 'search', id: 'find-denied', oninput: () => later() });
  let timer;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(redraw, 300);
  };

  async function load() {
    const found = await get('/v1/revocation', { find: find.value.trim() });
    replace(sources, table(words.sources, [
      { name: words.source, cell: ({ source, kind }) => under(h('code', {}, source), words.sourceKinds[kind] ?? kind) }, { name: words.entries, number: true, tight: true, cell: ({ entries }) => numberOf(entries) },
      { name: words.age, cell: ({ this_update: made, last_success: fetched }) => under(made === undefined ? '–' : ago(made), fetched === undefined ? undefined : words.fetched(ago(fetched))) },
      { name: words.next, cell: ({ next_update: next }) => (next === undefined ? '–' : under(momentOf(next), ago(next))) }, { name: words.state, cell: (one) => under(stateOf(one), failure(one)) },
    ], found.sources, words.noSources));
    replace(responders, table(words.responders, [
      { name: words.source, cell: ({ responder }) => h('code', {}, responder) }, { name: words.lastGood, cell: ({ last_success: good }) => (good === undefined ? words.never : ago(good)) },
      { name: words.state, cell: (one) => under(failure(one) === undefined ? chip('good', words.fresh) : chip('bad', words.fails), failure(one)) },
    ], found.responders, words.noResponders), h('p', { class: 'empty' }, words.respondersNote(found.ocsp_answers)));
    note.textContent = words.deniedNote(found.deny_list.length, found.denied);
    replace(denied, table(words.denied, [
      { name: words.entry, cell: (one) => under(...[one.subject_text, h('code', {}, one.id ?? one.fingerprint ?? one.key ?? [one.serial, one.issuer_text].filter(Boolean).join(' · ')), words.entryKinds[one.kind] ?? one.kind].filter((part) => part !== undefined)) },
      { name: words.why, cell: ({ reason }) => reason }, { name: words.by, cell: ({ who }) => who }, { name: words.at, cell: ({ at, expires }) => under(momentOf(at), expires === undefined ? undefined : `${words.until} ${momentOf(expires)}`) },
      { name: words.reinstate, unseen: true, tight: true, cell: (one) => state.may && one.kind !== 'departed' && one.told_by === undefined && button(words.reinstate, () => reinstate(one), { key: `${one.kind} ${one.at}`, label: `${words.reinstate} ${one.id ?? one.subject_text ?? one.fingerprint ?? one.serial ?? one.key ?? one.issuer_text}` }) },
    ], found.deny_list, words.noDenied));
  }

  async function reinstate({ kind, fingerprint, subject_text, serial, issuer, issuer_text: text, key, id }) {
    const subject = Object.fromEntries(Object.entries({ kind, fingerprint, serial, issuer, issuer_text: text, key, id }).filter(([, value]) => value !== undefined));
    if (await confirm({ heading: words.dialog.reinstateTitle, about: h('p', {}, subject_text === undefined ? undefined : [subject_text, h('br')], h('code', {}, id ?? fingerprint ?? key ?? `${serial ?? ''} ${text}`)), deed: words.dialog.reinstateDo, done: words.dialog.reinstated, act: (reason) => post('/v1/reinstate', { ...subject, reason }) })) redraw();
  }

  const filter = h('div', { class: 'filters' }, h('label', { for: 'find-denied' }, words.find, find));
  return { load, content: [card(words.sources, {}, sources), card(words.responders, {}, responders), card(words.denied, { note, aside: filter }, denied)] };
}

function failure({ last_error: bad, last_success: good }) {
  return bad !== undefined && (bad.at === undefined || good === undefined || bad.at > good) ? bad.detail : undefined;
}

function stateOf(one) {
  const left = one.next_update === undefined ? Infinity : new Date(one.next_update).getTime() - Date.now();
  if (left <= 0) return chip('bad', words.ended);
  if (failure(one) !== undefined) return chip('warn', words.fails);
  return left < SOON_MS ? chip('warn', words.endsSoon) : chip('good', words.fresh);
}
