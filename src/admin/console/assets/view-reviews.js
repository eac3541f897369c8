import { get, post } from './api.js';
import { confirm } from './dialogs.js';
import { button, card, h, replace, table, under } from './dom.js';
import { ago, momentOf, words } from './words.js';

/** Emergencies: what is open, what is to be reviewed, what was. */
export function reviewsView({ state, redraw }) {
  const [open, due, past] = [h('div'), h('div'), h('div')];

  const columns = [
    { name: words.whom, cell: ({ who, role, address }) => under(who, role, address) }, { name: words.route, cell: ({ route, patient }) => under(route, patient === undefined ? undefined : `${words.patient} ${patient}`) },
    { name: words.said, cell: ({ reason, text }) => under(reason, text) },
  ];
  const deed = (name, act, label) => ({ name, unseen: true, tight: true, cell: (one) => state.may && button(name, () => act(one), { kind: 'deed', key: one.id, label: label(one.who) }) });

  async function load() {
    const { grants } = await get('/v1/break-glass');
    const isOpen = ({ closed, until }) => closed === undefined && new Date(until).getTime() > Date.now();
    const ended = { name: words.ended2, cell: ({ closed, until }) => under(momentOf(closed?.at ?? until), closed?.note) };
    replace(open, table(words.grantsOpen, [...columns, { name: words.until, cell: ({ until }) => under(momentOf(until), ago(until)) }, deed(words.withdraw, withdraw, words.withdrawWhich)], grants.filter(isOpen).reverse(), words.noGrants));
    replace(due, table(words.grantsDue, [...columns, ended, deed(words.review, review, words.reviewWhich)], grants.filter((one) => !isOpen(one) && one.review === undefined).reverse().slice(0, 200), words.noGrants));
    replace(past, table(words.grantsDone, [...columns, { name: words.note, cell: ({ review: { note, who, at } }) => under(note, `${who}, ${momentOf(at)}`) }], grants.filter(({ review: found }) => found !== undefined).reverse().slice(0, 100), words.noGrants));
  }

  const about = ({ who, route, text }) => h('p', {}, [who, route, text].filter(Boolean).join(' · '));

  async function withdraw(one) {
    if (await confirm({ heading: words.dialog.withdrawTitle, about: about(one), field: words.dialog.reason, deed: words.dialog.withdrawDo, danger: true, done: words.dialog.withdrawn, act: (note) => post('/v1/break-glass/withdraw', { id: one.id, note }) })) redraw();
  }

  async function review(one) {
    if (await confirm({ heading: words.dialog.reviewTitle, about: about(one), field: words.dialog.note, deed: words.dialog.reviewDo, done: words.dialog.reviewed, act: (note) => post('/v1/break-glass/review', { id: one.id, note }) })) redraw();
  }

  return { load, content: [card(words.grantsOpen, {}, open), card(words.grantsDue, {}, due), card(words.grantsDone, {}, past)] };
}
