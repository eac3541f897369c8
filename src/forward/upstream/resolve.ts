import { lookup, Resolver } from 'node:dns/promises';
import { isIPv4 } from 'node:net';
import type { UpstreamConfig } from '../../config/schema.ts';

/** Finds the addresses of a host; rejects with an error whose message says why there is none. */
export type LookUp = (host: string) => Promise<readonly string[]>;

/** Addresses of one host that are used at a time. */
const MOST_ADDRESSES = 32;

/** What a DNS server says when a name, or an address of that kind, does not exist; anything else is no answer. */
const NO_SUCH = new Set(['ENODATA', 'ENOTFOUND', 'ENONAME']);

/** How names are looked up: by the system, or by the DNS servers that the configuration names. Answers are in a fixed order. */
export function createLookUp({ servers, timeout, prefer }: UpstreamConfig['resolve']): LookUp {
  const ask = servers.length === 0 ? systemLookUp() : serverLookUp(servers, timeout);
  return async (host) => {
    const found = await inTime(ask(host, prefer), timeout, host);
    const used = preferred([...new Set(found)], prefer);
    if (used.length === 0) throw new Error(`${host} has no address`);
    return used.sort().slice(0, MOST_ADDRESSES);
  };
}

function preferred(addresses: string[], prefer: UpstreamConfig['resolve']['prefer']): string[] {
  if (prefer === 'both') return addresses;
  const first = addresses.filter((address) => isIPv4(address) === (prefer === 'ipv4'));
  return first.length > 0 ? first : addresses;
}

/** One question at a time for a host: a system that does not answer keeps a thread of few from reading files. */
function systemLookUp() {
  const asked = new Map<string, Promise<readonly string[]>>();
  return (host: string): Promise<readonly string[]> => {
    const known = asked.get(host);
    if (known !== undefined) return known;
    const answer = lookup(host, { all: true }).then((found) => found.map(({ address }) => address));
    asked.set(host, answer);
    const forget = (): void => void asked.delete(host);
    answer.then(forget, forget);
    return answer;
  };
}

function serverLookUp(servers: readonly string[], timeout: number) {
  return async (host: string, prefer: UpstreamConfig['resolve']['prefer']): Promise<readonly string[]> => {
    // One for each question: a server that did not answer one is asked again for the next.
    const resolver = new Resolver({ timeout: Math.max(100, Math.floor(timeout / 2)), tries: 2 });
    resolver.setServers(servers);
    const ask = { ipv4: () => resolver.resolve4(host), ipv6: () => resolver.resolve6(host) };
    if (prefer === 'both') return either(await Promise.allSettled([ask.ipv4(), ask.ipv6()]));
    const first = await ask[prefer]().catch((error: NodeJS.ErrnoException) => {
      if (NO_SUCH.has(error.code ?? '')) return [];
      throw error;
    });
    return first.length > 0 ? first : ask[prefer === 'ipv4' ? 'ipv6' : 'ipv4']();
  };
}

function either(answers: readonly PromiseSettledResult<string[]>[]): readonly string[] {
  const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  const [failed] = answers.filter((answer) => answer.status === 'rejected');
  if (found.length === 0 && failed !== undefined) throw failed.reason;
  return found;
}

/** The system's look-up cannot be called off; what comes too late is not waited for. */
function inTime<Answer>(answer: Promise<Answer>, timeout: number, host: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer about ${host} within ${timeout} ms`)), timeout);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
