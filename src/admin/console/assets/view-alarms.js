import { get, post, CallError } from './api.js';
import { confirm } from './dialogs.js';
import { button, card, chip, h, replace, table, under } from './dom.js';
import { ago, momentOf, words } from './words.js';

/** Alarms that wait for somebody, and those that somebody has seen. */
export function alarmsView({ state, redraw }) {
  const open = h('div');
  const past = h('div');

  async function load() {
    const alarms = await get('/v1/alarms').then((found) => found.alarms, (error) => {
      if (error instanceof CallError && error.status === 409) return undefined;
      throw error;
    });
    if (alarms === undefined) return replace(open, h('p', { class: 'empty' }, words.noAlarmsConfigured));
    const columns = [
      { name: words.rule, cell: ({ rule, acknowledged, count }) => under(chip(acknowledged === undefined ? 'bad' : 'good', rule), words.foundTimes(count)) }, { name: words.what, cell: ({ text, subject }) => under(text, [subject, ' ', h('a', { href: `#/audit?find=${encodeURIComponent(subject.split(' ').at(-1))}`, 'aria-label': words.showRecordsOf(subject) }, words.showRecords)]) },
      { name: words.opened, cell: ({ opened, last }) => under(momentOf(opened), `${words.last}: ${ago(last)}`) },
    ];
    replace(open, table(words.alarmsOpen, [...columns, { name: words.acknowledge, unseen: true, tight: true, cell: (one) => state.may && button(words.acknowledge, () => acknowledge(one), { kind: 'deed', key: one.id, label: words.acknowledgeWhich(one.rule) }) }], alarms.filter(({ acknowledged }) => acknowledged === undefined).reverse(), words.noAlarms));
    replace(past, table(words.alarmsDone, [...columns, { name: words.note, cell: ({ acknowledged: { note, who, at } }) => under(note, `${who}, ${momentOf(at)}`) }], alarms.filter(({ acknowledged }) => acknowledged !== undefined).reverse().slice(0, 100), words.noneDone));
  }

  async function acknowledge({ id, rule, text }) {
    if (await confirm({ heading: words.dialog.acknowledgeTitle, about: h('p', {}, `${rule}: ${text}`), field: words.dialog.note, deed: words.dialog.acknowledgeDo, done: words.dialog.acknowledged, act: (note) => post('/v1/alarms/acknowledge', { id, note }) })) redraw();
  }

  return { load, content: [card(words.alarmsOpen, {}, open), card(words.alarmsDone, {}, past)] };
}
