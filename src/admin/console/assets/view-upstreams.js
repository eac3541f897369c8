import { get } from './api.js';
import { card, chip, h, replace, table, under } from './dom.js';
import { numberOf, words } from './words.js';

const KINDS = { sound: 'good', slow_start: 'good', trial: 'warn', failing: 'warn', out: 'bad', down: 'bad' };

/** Upstreams, their endpoints and how they stand. */
export function upstreamsView() {
  const region = h('div');
  return {
    content: [region],
    async load() {
      const { upstreams } = await get('/v1/upstreams');
      replace(region, upstreams.length === 0 ? h('p', { class: 'empty' }, words.noUpstreams) : upstreams.map((one) => card(one.upstream, { aside: overall(one) }, table(one.upstream, [
        { name: words.endpoint, cell: ({ endpoint, lookups }) => under(h('code', {}, endpoint), lookups?.error) },
        { name: words.state, cell: ({ addresses }) => addresses.map(({ address, state, detail }) => h('div', {}, chip(KINDS[state] ?? 'warn', words.endpointStates[state] ?? state), h('span', { class: 'under' }, [address, detail].filter(Boolean).join(' · ')))) },
        { name: words.active, number: true, tight: true, cell: ({ addresses }) => numberOf(addresses.reduce((sum, { active }) => sum + active, 0)) },
        { name: words.answered, number: true, tight: true, cell: ({ counts }) => numberOf(counts.answered ?? 0) }, { name: words.failed, number: true, tight: true, cell: ({ counts }) => numberOf(failures(counts)) },
      ], one.endpoints, ''))));
    },
  };
}

/** Attempts that came to nothing. */
function failures({ failed = 0, timeout = 0, unverified = 0 }) {
  return failed + timeout + unverified;
}

function overall({ endpoints }) {
  const up = endpoints.filter((one) => one.up).length;
  if (up === endpoints.length) return chip('good', words.up);
  return up === 0 ? chip('bad', words.away) : chip('warn', words.partly);
}
