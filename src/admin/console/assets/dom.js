// Nothing here becomes markup from text: what is on record, clients have a say in.

const SVG = 'http://www.w3.org/2000/svg';
const DRAWN = new Set(['svg', 'path', 'circle', 'rect', 'line', 'text', 'g', 'title']);

/** An element. Children are nodes, texts, or nothing; `on…` are listeners. */
export function h(name, attributes = {}, ...children) {
  const element = DRAWN.has(name) ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const SIGNS = { good: 'M5 12.5l4.5 4.5L19 7.5', bad: 'M12 7v6M12 16.5v.5M12 2.8l9.2 16.4H2.8z', warn: 'M12 7.5V13M12 16.5v.2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z', lost: 'M4 12h3l2-5 4 10 2-5h5' };

export function sign(kind) {
  return h('svg', { class: `sign ${kind}`, viewBox: '0 0 24 24', 'aria-hidden': 'true' }, h('path', { d: SIGNS[kind] }));
}

/** A word with its colour; the word says it all. */
export function chip(kind, text) {
  return h('span', { class: `chip ${kind}` }, text);
}

export function card(title, { note, aside } = {}, ...body) {
  const id = `card-${cards++}`;
  return h('section', { class: 'card', 'aria-labelledby': id }, h('header', {}, h('h2', { id }, title), note === undefined ? undefined : h('p', {}, note), aside === undefined ? undefined : h('div', { class: 'aside' }, aside)), h('div', { class: 'body' }, body));
}

let cards = 0;

/**
 * A table that becomes a list of facts where it is narrow; roles stay what they are then. A column is { name, cell, number?, tight? }; its name may be unseen.
 */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h('p', { class: 'empty' }, empty);
  const kind = ({ number, tight }) => [number && 'number', tight && 'tight'].filter(Boolean).join(' ') || undefined;
  return h('table', { class: 'stack', role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, columns.map((column) => h('th', { scope: 'col', role: 'columnheader', class: kind(column) }, column.unseen ? h('span', { class: 'unseen' }, column.name) : column.name)))),
    h('tbody', { role: 'rowgroup' }, rows.map((row) => h('tr', { role: 'row' }, columns.map((column) => h('td', { role: 'cell', class: kind(column), 'data-label': column.unseen ? undefined : column.name }, column.cell(row)))))));
}

export function under(main, ...more) {
  const rest = more.filter((one) => one !== undefined && one !== '');
  return [main, ...rest.map((one) => h('span', { class: 'under' }, one))];
}

export function button(text, act, { kind, key, label } = {}) {
  return h('button', { type: 'button', class: kind, 'data-key': key, 'aria-label': label, onclick: act }, text);
}

/** Puts new content in place of the old; whoever was on a control of the same key stays there, and whoever was on one that is gone goes on in the view, not at the top of the page. */
export function replace(region, ...content) {
  const held = region.contains(document.activeElement) ? document.activeElement : undefined;
  const key = held?.dataset.key;
  region.replaceChildren(...content.flat(Infinity).filter(Boolean));
  if (held === undefined || held.isConnected) return;
  ((key !== undefined && region.querySelector(`[data-key="${CSS.escape(key)}"]`)) || document.getElementById('main')).focus({ preventScroll: true });
}

/** Says it to those who do not see it. */
export function say(text) {
  document.getElementById('said').textContent = text;
}

export function facts(pairs) {
  return h('dl', { class: 'facts' }, pairs.filter(([, value]) => value !== undefined && value !== '').map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}
