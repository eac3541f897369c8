import { get, post } from './api.js';
import { chip, facts, h, say, table } from './dom.js';
import { momentOf, words } from './words.js';

/** Shows a dialog, and takes it away once it is closed; whoever opened it is where they were. */
function open(...content) {
  const dialog = h('dialog', { onclose: () => dialog.remove() }, content);
  const heading = dialog.querySelector('h2');
  // Dialogs may stand on each other.
  heading.id = `dialog-${document.querySelectorAll('dialog').length}`;
  dialog.setAttribute('aria-labelledby', heading.id);
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// Where one begins to read; what asks for an answer takes the focus to its field.
const title = (text) => h('h2', { tabindex: -1, autofocus: true }, text);

/** Says what is about to happen and to whom, asks why, and does it. `act` gets the reason and the form. Resolves with whether it was done. */
export function confirm({ heading, about = [], field = words.dialog.reason, deed, danger = false, done, act }) {
  return new Promise((resolve) => {
    let finished = false;
    const fault = h('p', { class: 'fault', role: 'alert', hidden: true });
    const reason = h('textarea', { id: 'dialog-reason', required: true, maxlength: 1000, 'aria-describedby': 'dialog-hint' });
    const sure = h('button', { type: 'submit', class: danger ? 'danger sure' : 'deed' }, deed);
    const cancel = h('button', { type: 'button', onclick: () => dialog.close() }, words.dialog.cancel);
    const form = h('form', { method: 'dialog', novalidate: true }, title(heading), about, h('label', { for: 'dialog-reason' }, field, h('span', { class: 'hint', id: 'dialog-hint' }, words.dialog.reasonHint)), reason, fault, h('div', { class: 'buttons' }, cancel, sure));
    const refuse = (text) => {
      fault.textContent = text;
      fault.hidden = false;
    };
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      const text = reason.value.trim();
      if (text === '') {
        refuse(words.dialog.needed);
        return reason.focus();
      }
      sure.disabled = true;
      try {
        await act(text, form);
        finished = true;
        say(done);
        dialog.close();
      } catch (error) {
        const own = error.code === 'own_certificate';
        refuse(own ? words.dialog.own : error.message);
        // The second time it is meant.
        if (own) {
          form.dataset.own = 'meant';
          sure.textContent = words.dialog.ownDo;
        }
      } finally {
        sure.disabled = false;
      }
    });
    const dialog = open(form);
    dialog.addEventListener('close', () => resolve(finished));
    reason.focus();
  });
}

/** As much of a name as the list takes. */
const MOST_NAME = 1000;

/** Revokes the certificate of a client, or all of the person's; says first whom it hits. */
export async function revoke({ fingerprint, id, subject }) {
  const who = id ?? subject ?? fingerprint.slice(0, 16);
  const { connections } = await get('/v1/connections', { fingerprint });
  const hits = h('div', { class: 'hits' }, h('p', {}, words.dialog.revokeHits(connections.length)), connections.length === 0 ? undefined : h('ul', {}, connections.slice(0, 50).map((one) => h('li', {}, `${one.listener} · ${one.protocol} · ${one.address}`))));
  const what = h('label', {}, words.dialog.revokeWhat, h('select', { name: 'what' }, h('option', { value: 'fingerprint' }, words.dialog.revokeThis), id === undefined ? undefined : h('option', { value: 'identity' }, words.dialog.revokeAll(id))));
  return confirm({
    heading: words.dialog.revokeTitle(who), about: [facts([[words.subject, subject], ['SHA-256', h('code', {}, fingerprint)]]), hits, what], deed: words.dialog.revokeDo, danger: true, done: words.dialog.revoked,
    act: (reason, form) => post('/v1/deny', { ...(form.dataset.own === 'meant' ? { own: true } : {}), ...(form.elements.namedItem('what').value === 'identity' ? { kind: 'identity', id, reason } : { kind: 'fingerprint', fingerprint, ...(connections[0]?.subject ? { subject_text: connections[0].subject.slice(0, MOST_NAME) } : {}), reason }) }),
  });
}

function closing() {
  return h('button', { type: 'button', onclick: (event) => event.target.closest('dialog').close() }, words.dialog.close);
}

export async function showConnections({ fingerprint, id, subject }) {
  const { connections } = await get('/v1/connections', { fingerprint });
  open(h('div', { class: 'inside' }, title(words.connectionsOfWhom(id ?? subject ?? fingerprint.slice(0, 16))), table(words.connectionsOf, [
    { name: words.listener, cell: (one) => one.listener }, { name: words.protocol, cell: (one) => one.protocol }, { name: words.addresses, cell: (one) => one.address }, { name: 'TLS', cell: (one) => one.tls }, { name: words.active, number: true, cell: (one) => one.under_way },
  ], connections, words.noConnections), h('div', { class: 'buttons' }, closing())));
}

const KINDS = { permitted: 'good', admitted: 'good', denied: 'bad' };

/** Why a request was denied; `may`: whoever looks may revoke its certificate from there. */
export async function explain(record, may) {
  const { record: kept, certificate, now } = await get('/v1/explain', { request_id: record.request_id });
  const client = kept.fingerprint === undefined ? undefined : { fingerprint: kept.fingerprint, subject: kept.subject };
  const shown = ['time', 'result', 'reason', 'request_id', 'listener', 'address', 'role', 'id', 'subject', 'serial', 'route', 'method', 'host', 'path', 'status'];
  open(h('div', { class: 'inside' },
    title(`${words.explained}: ${kept.reason ?? kept.result}`),
    kept.detail === undefined ? undefined : h('p', {}, kept.detail),
    h('section', { 'aria-labelledby': 'explain-now' }, h('h3', { id: 'explain-now' }, words.decidedNow, ' ', now === undefined ? undefined : chip(KINDS[now.result], words.nowIs(now.result, now.reason))),
      now === undefined ? h('p', { class: 'empty' }, certificate === 'unknown' ? words.unknownCertificate : '') : [h('p', { class: 'hint' }, words.decidedNote), h('ol', { class: 'steps' }, now.steps.map(({ rule, outcome, detail }) => h('li', { class: `step-${outcome}` }, h('b', {}, rule), ' ', h('span', { class: 'unseen' }, words.outcomes[outcome]), h('span', {}, detail))))]),
    h('section', { 'aria-labelledby': 'explain-record' }, h('h3', { id: 'explain-record' }, words.onRecord), facts(shown.filter((field) => kept[field] !== undefined).map((field) => [field, field === 'time' ? momentOf(kept.time) : String(kept[field])]))),
    h('div', { class: 'buttons' },
      client !== undefined && h('button', { type: 'button', onclick: () => showConnections(client) }, words.connectionsOf),
      client !== undefined && may && h('button', { type: 'button', class: 'danger', onclick: () => revoke(client) }, words.revoke),
      closing())));
}
