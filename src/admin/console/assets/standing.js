import { button, h, replace, sign } from './dom.js';
import { ago, timeOf, words } from './words.js';

const SHOWN = 4;

/** What is wrong, before anything else: all of it where one comes in, elsewhere what concerns the view. */
export function createStanding(region) {
  let all = false;
  let at;
  let last;

  function item({ severity, code, view, detail, ...problem }) {
    return h('li', {}, h('span', { class: severity }, sign(severity)), h('p', {}, words.problems[code]?.(problem, ago) ?? code, detail === undefined ? undefined : h('span', { class: 'detail' }, ` ${detail}`), h('span', { class: 'todo' }, ` ${words.todo[code] ?? ''}`)), view !== at && h('a', { href: `#/${view}`, 'data-key': `${code} ${problem.name ?? ''}`, 'aria-label': words.lookAt(words[view]) }, words[view]));
  }

  function show(overview, view) {
    if (view !== at) all = false;
    at = view;
    last = overview;
    const { problems, time } = overview;
    const bad = problems.filter(({ severity }) => severity === 'bad').length;
    const kind = problems.length === 0 ? 'good' : bad > 0 ? 'bad' : 'warn';
    const first = view === 'now' ? problems.slice(0, SHOWN) : problems.filter((problem) => problem.view === view);
    const rest = problems.length - first.length;
    replace(region,
      h('div', { class: `verdict ${kind}` }, sign(kind), h('strong', {}, problems.length === 0 ? words.allGood : words.wrong(bad, problems.length - bad)), h('span', { class: 'when' }, words.seen(timeOf(time)))),
      problems.length === 0 ? undefined : h('ul', { class: 'problems' }, (all ? problems : first).map(item), rest > 0 && h('li', { class: 'more' }, button(all ? words.fewer : first.length === 0 ? words.showAll : words.more(rest), () => {
        all = !all;
        show(overview, view);
      }, { kind: 'quiet', key: 'more' }))));
  }

  return {
    show,
    /** What is wrong as it was last seen, for another view. */
    move(view) {
      if (last !== undefined) show(last, view);
    },
    /** The gateway does not answer, or not any more to this certificate. */
    lost(out) {
      last = undefined;
      replace(region, h('div', { class: 'verdict bad lost', role: 'alert' }, sign('lost'), h('strong', {}, words.lost), h('span', {}, out ? words.out : words.lostWhy)));
    },
  };
}
