import { get } from './api.js';
import { h, replace, say } from './dom.js';
import { follow } from './live.js';
import { createStanding } from './standing.js';
import { alarmsView } from './view-alarms.js';
import { auditView } from './view-audit.js';
import { certificatesView } from './view-certificates.js';
import { nowView } from './view-now.js';
import { reviewsView } from './view-reviews.js';
import { revocationView } from './view-revocation.js';
import { upstreamsView } from './view-upstreams.js';
import { language, switchLanguage, words } from './words.js';

const VIEWS = { now: nowView, certificates: certificatesView, revocation: revocationView, upstreams: upstreamsView, audit: auditView, alarms: alarmsView, reviews: reviewsView };
const PICTURES = {
  now: 'M3 12h4l3-8 4 16 3-8h4', certificates: 'M6 3h12v12H6zM9 7h6M9 10.5h6M10 15v6l2-1.5 2 1.5v-6', revocation: 'M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM5.7 5.7l12.6 12.6', upstreams: 'M4 4h16v6H4zM4 14h16v6H4zM8 7h.1M8 17h.1',
  audit: 'M6 3h9l4 4v14H6zM9 11h7M9 15h7', alarms: 'M6 16V11a6 6 0 0 1 12 0v5l2 2H4zM10 21h4', reviews: 'M12 4v16M4 12h16',
};
const EVERY_MS = 10_000;

const main = document.getElementById('main');
const state = { may: false, caller: undefined };
const standing = createStanding(document.getElementById('standing'));
let view;
let name = place().wanted;
let samples = [];
let tallies = {};
let latest;
let timer;

function place() {
  const [wanted = '', query = ''] = location.hash.replace(/^#\//, '').split('?');
  return { wanted: Object.hasOwn(VIEWS, wanted) ? wanted : 'now', parameters: new URLSearchParams(query) };
}

/** Shows the view that the address names. `moved`: somebody went there, and is told. */
async function go(moved) {
  const { wanted, parameters } = place();
  name = wanted;
  view = VIEWS[name]({ state, parameters, redraw: () => refresh(), lookAgain: () => look() });
  document.title = `${words[name]} · Wardgate`;
  drawViews();
  main.replaceChildren(h('div', { class: 'head' }, h('div', {}, h('h1', {}, words[name]), h('p', {}, words.about[name]))), ...view.content);
  view.live?.(samples);
  standing.move(name);
  if (latest !== undefined) view.overview?.(latest);
  if (moved) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  await refresh();
}

async function refresh() {
  clearTimeout(timer);
  const shown = view;
  try {
    await shown.load?.();
  } catch (error) {
    if (shown === view && error.status !== undefined) say(error.message);
  }
  // Whoever has a question open must not have the page change below it.
  if (shown === view) timer = setTimeout(() => (document.querySelector('dialog') === null && !document.hidden ? refresh() : (timer = setTimeout(refresh, EVERY_MS))), shown.every ?? EVERY_MS);
}

async function look() {
  try {
    const overview = await get('/v1/overview');
    latest = overview;
    state.caller = overview.caller;
    state.may = overview.caller.role === 'operator';
    tallies = Object.groupBy(overview.problems, ({ view: of }) => of);
    standing.show(overview, name);
    view?.overview?.(overview);
    drawViews();
    drawSettings();
  } catch {
    // The stream says it when the gateway is gone.
  }
}

function drawViews() {
  replace(document.getElementById('views'), h('ul', {}, Object.keys(VIEWS).map((one) => {
    const wrong = tallies[one] ?? [];
    return h('li', {}, h('a', { href: `#/${one}`, 'aria-current': one === name ? 'page' : undefined, 'data-key': one }, h('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, h('path', { d: PICTURES[one] })), words[one],
      wrong.length > 0 && h('span', { class: `tally ${wrong.some(({ severity }) => severity === 'bad') ? 'bad' : 'warn'}` }, wrong.length)));
  })));
}

function drawSettings() {
  const theme = document.documentElement.dataset.theme ?? 'auto';
  const choose = (to) => {
    if (to === 'auto') {
      localStorage.removeItem('wardgate.theme');
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem('wardgate.theme', to);
      document.documentElement.dataset.theme = to;
    }
    document.dispatchEvent(new Event('wardgate-theme'));
  };
  replace(document.getElementById('settings'),
    h('label', {}, words.theme, h('select', { 'data-key': 'theme', onchange: (event) => choose(event.target.value) }, Object.entries(words.themes).map(([value, text]) => h('option', { value, selected: value === theme }, text)))),
    h('label', {}, words.lang, h('select', { 'data-key': 'language', onchange: (event) => switchLanguage(event.target.value) }, h('option', { value: 'en', lang: 'en', selected: language === 'en' }, 'English'), h('option', { value: 'zh', lang: 'zh-CN', selected: language !== 'en' }, '中文'))),
    state.caller === undefined ? undefined : h('p', { class: 'who' }, words.signedIn, h('strong', {}, state.caller.who), words.roles[state.caller.role]));
}

document.documentElement.lang = language;
document.getElementById('skip').textContent = words.skip;
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
document.getElementById('views').setAttribute('aria-label', words.views);
document.getElementById('standing').setAttribute('aria-label', words.look);
addEventListener('hashchange', () => go(true));

await look();
setInterval(() => document.hidden || look(), EVERY_MS);
samples = follow({
  told: (all) => view?.live?.(all),
  lost: () => standing.lost(false),
  back() {
    say(words.back);
    look();
    refresh();
  },
  out: () => standing.lost(true),
});
await go(false);
