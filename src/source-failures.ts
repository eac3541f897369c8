import { LRUCache } from 'lru-cache';
import type { AuditWriter } from './audit/writer.ts';
import { printableUrl } from './revocation/named-urls.ts';

/** One failure of a source and kind a minute is evidence enough: responders are asked a hundred times a second. */
const ONE_MS = 60_000;
const MOST = 1_000;
const LONGEST = 500;

/** Puts failures of OCSP responders and distribution points on record. */
export function createSourceFailures(audit: AuditWriter, now: () => number): (url: string, detail: string) => void {
  const recent = new LRUCache<string, true>({ max: MOST, ttl: ONE_MS });
  return (url, detail) => {
    // What differs in numbers alone is the same.
    const key = `${url} ${detail.replace(/[0-9]+/g, '0')}`;
    if (recent.has(key)) return;
    recent.set(key, true);
    // One that cannot be written is said by the next one that can.
    audit.append({ time: new Date(now()).toISOString(), event: 'responder', result: 'failed', endpoint: printableUrl(url), detail: detail.slice(0, LONGEST) }).catch(() => undefined);
  };
}
