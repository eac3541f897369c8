import { button, h, replace, sign } from './dom.js';
import { ago, timeOf, words } from './words.js';

const SHOWN = 4;

/** What is wrong, before anything else. */
export function createStanding(region) {
  let all = false;
  let last;

  function item({ severity, code, view, detail, ...problem }) {
    return h('li', {}, h('span', { class: severity }, sign(severity)), h('p', {}, words.problems[code]?.(problem, ago) ?? code, detail === undefined ? undefined : h('span', { class: 'detail' }, ` ${detail}`)), h('a', { href: `#/${view}`, 'data-key': `${code} ${problem.name ?? ''}`, 'aria-label': words.lookAt(words[view]) }, words[view]));
  }

  function show(overview) {
    last = overview;
    const { problems, time } = overview;
    const bad = problems.filter(({ severity }) => severity === 'bad').length;
    const kind = problems.length === 0 ? 'good' : bad > 0 ? 'bad' : 'warn';
    const rest = problems.length - SHOWN;
    replace(region,
      h('div', { class: `verdict ${kind}` }, sign(kind), h('strong', {}, problems.length === 0 ? words.allGood : words.wrong(bad, problems.length - bad)), h('span', { class: 'when' }, words.seen(timeOf(time)))),
      problems.length === 0 ? undefined : h('ul', { class: 'problems' }, problems.slice(0, all ? undefined : SHOWN).map(item), rest > 0 && h('li', { class: 'more' }, button(all ? words.fewer : words.more(rest), () => {
        all = !all;
        show(last);
      }, { kind: 'quiet', key: 'more' }))));
  }

  return {
    show,
    /** The gateway does not answer, or not any more to this certificate. */
    lost(out) {
      replace(region, h('div', { class: 'verdict bad lost', role: 'alert' }, sign('lost'), h('strong', {}, words.lost), h('span', {}, out ? words.out : words.lostWhy)));
    },
  };
}
