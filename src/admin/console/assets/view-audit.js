import { get } from './api.js';
import { explain } from './dialogs.js';
import { button, card, chip, h, replace, table, under } from './dom.js';
import { ago, momentOf, timeOf, words } from './words.js';

/** A pseudonym says who is the same as whom: for that its beginning is enough, and the whole of it can be had by pointing at it. */
function short(text) {
  const shown = text.replace(/~[0-9a-f]{8}\.([0-9a-f]{8})[0-9a-f]{16}/g, '~$1');
  return shown === text ? text : h('span', { title: text }, shown);
}

const KINDS = { permitted: 'good', done: 'good', denied: 'bad', failed: 'warn' };

/** The newest records, and the chain that holds them. */
export function auditView({ state, parameters, redraw }) {
  const chain = h('div');
  const records = h('div');
  const result = h('select', { id: 'result', onchange: redraw }, h('option', { value: '' }, words.anyResult), Object.entries(words.results).map(([value, name]) => h('option', { value }, name)));
  const find = h('input', { type: 'search', id: 'find-record', value: parameters.get('find') ?? '', oninput: () => later() });
  let timer;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(redraw, 300);
  };

  async function load() {
    const found = await get('/v1/records', { result: result.value, find: find.value.trim() });
    replace(chain, chainState(found.chain));
    replace(records, table(words.records, [
      { name: words.when, tight: true, cell: ({ time }) => h('time', { datetime: time, title: momentOf(time) }, timeOf(time)) },
      { name: words.what, cell: (one) => under(chip(KINDS[one.result], one.result === 'denied' || one.result === 'failed' ? one.reason ?? words.results[one.result] : words.results[one.result]), short([one.event === 'request' ? undefined : one.event, one.method, one.path ?? one.detail].filter(Boolean).join(' '))) },
      { name: words.whom, cell: (one) => under(short(one.who ?? one.id ?? one.subject ?? '–'), [one.role, one.address].filter(Boolean).join(' · ')) }, { name: words.route, tight: true, cell: (one) => under(one.route ?? '–', one.listener) },
      { name: words.explain, unseen: true, tight: true, cell: (one) => one.result === 'denied' && one.request_id !== undefined && button(words.explain, () => explain(one, state.may), { key: one.request_id, label: words.explainWhich(one.reason ?? one.result, timeOf(one.time)) }) },
    ], found.records, words.noRecords));
  }

  const filters = h('div', { class: 'filters' }, h('label', { for: 'result' }, words.result, result), h('label', { for: 'find-record' }, words.find, find));
  return { load, every: 5_000, content: [card(words.chain, {}, chain), card(words.records, { note: words.recordsNote, aside: filters }, records)] };
}

function chainState({ lines, broken, checkpoint, failing }) {
  const state = broken !== undefined || failing.length > 0 ? chip('bad', words.chainBroken) : chip('good', words.chainWhole);
  const signed = checkpoint === undefined ? words.noCheckpoint : checkpoint.signed ? words.checkpoint(checkpoint.number, ago(checkpoint.time)) : words.unsigned;
  return h('p', {}, state, ' ', [broken === undefined ? words.chainLines(lines) : words.brokenAt(broken.segment, broken.seq), signed, ...failing].join(' · '));
}
