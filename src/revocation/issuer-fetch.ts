import { LRUCache } from 'lru-cache';
import type { Dispatcher } from 'undici';
import { readBundle } from '../pki/bundle.ts';
import { download } from './download.ts';
import { refuseUrl } from './named-urls.ts';
import { ISSUER_FETCH_MS } from './view.ts';

/** What a URL gave. Certificates in DER: they are nobody's word, and prove themselves by the path that they are on, or do not. */
export type FetchedIssuers =
  | { readonly kind: 'found'; readonly certificates: readonly Uint8Array[] }
  | { readonly kind: 'failed'; readonly detail: string };

export interface IssuerFetch {
  /**
   * The certificates at a URL that a certificate names for its issuer: one request at a time for each URL. Whether the host may be asked
   * is the caller's to know; it is not another host's copy that comes. Never rejects.
   */
  get(url: string, way: { readonly dispatcher: Dispatcher; readonly allowLocal: boolean }): Promise<FetchedIssuers>;
}

const MAX_OCTETS = 64 * 1024;
const MOST_CERTIFICATES = 16;
/** A copy younger than this is not asked for again; an older one serves while there is no newer. */
const FRESH_MS = 60_000;
const NEGATIVE_MS = 5_000;
const KEPT = 64;
const FAILURES = 1_024;
const MOST_AT_ONCE = 8;
/** URLs that have given nothing yet, in a second: whoever connects can make up new ones. */
const MOST_NEW = 10;

export function createIssuerFetch(now: () => number): IssuerFetch {
  const kept = new LRUCache<string, { readonly at: number; readonly certificates: readonly Uint8Array[] }>({ max: KEPT });
  const failures = new LRUCache<string, { readonly at: number; readonly detail: string }>({ max: FAILURES });
  const running = new Map<string, Promise<FetchedIssuers>>();
  let second = { begins: 0, fetches: 0 };

  function get(url: string, way: Parameters<IssuerFetch['get']>[1]): Promise<FetchedIssuers> {
    const copy = kept.get(url);
    if (copy !== undefined && now() < copy.at + FRESH_MS) return Promise.resolve(found(copy.certificates));
    const under = running.get(url);
    if (under !== undefined) return under;
    const failure = failures.get(url);
    if (failure !== undefined && now() < failure.at + NEGATIVE_MS) return Promise.resolve(orCopy(url, failure.detail));
    if (running.size >= MOST_AT_ONCE || (copy === undefined && !mayBeginNew())) return Promise.resolve(orCopy(url, 'not fetched: too many others are'));
    const begun = fetchOnce(url, way).finally(() => running.delete(url));
    running.set(url, begun);
    return begun;
  }

  async function fetchOnce(url: string, { dispatcher, allowLocal }: Parameters<IssuerFetch['get']>[1]): Promise<FetchedIssuers> {
    const refused = refuseUrl(url, allowLocal);
    if (refused !== undefined) return failed(refused);
    // The operator's list names hosts with their ports: neither may a redirect change.
    const { host } = new URL(url);
    const refuse = (next: string): string | undefined => (new URL(next).host === host ? refuseUrl(next, allowLocal) : 'redirected to another port');
    const got = await download(url, { dispatcher, refuse, maxOctets: MAX_OCTETS, signal: AbortSignal.timeout(ISSUER_FETCH_MS) });
    try {
      if (got.kind !== 'fresh') return lost(url, got.kind === 'failed' ? got.detail : got.kind);
      const certificates = readBundle(got.bytes, MOST_CERTIFICATES).map(({ der }) => der);
      kept.set(url, { at: now(), certificates });
      return found(certificates);
    } catch (error) {
      return lost(url, (error as Error).message);
    }
  }

  function lost(url: string, detail: string): FetchedIssuers {
    failures.set(url, { at: now(), detail });
    return orCopy(url, detail);
  }

  function orCopy(url: string, detail: string): FetchedIssuers {
    const copy = kept.get(url);
    return copy === undefined ? failed(detail) : found(copy.certificates);
  }

  function mayBeginNew(): boolean {
    const begins = Math.floor(now() / 1_000);
    second = { begins, fetches: second.begins === begins ? second.fetches + 1 : 1 };
    return second.fetches <= MOST_NEW;
  }

  return { get };
}

function found(certificates: readonly Uint8Array[]): FetchedIssuers {
  return { kind: 'found', certificates };
}

function failed(detail: string): FetchedIssuers {
  return { kind: 'failed', detail };
}
