import { LRUCache } from 'lru-cache';
import type { RaisedAlarm } from './forward/client.ts';

/** How long one rule is raised once for one certificate: who keeps asking is denied each time, and is news once. */
const QUIET_MS = 10 * 60_000;
const REMEMBERED = 10_000;

/** Passes on the first alarm of each certificate and rule in a while; `raise` is told of no other. */
export function createAlarms(raise: (raised: RaisedAlarm) => void): (raised: RaisedAlarm) => void {
  // By weight, each of one: by number it would take the room for all of them at once.
  const recent = new LRUCache<string, true>({ maxSize: REMEMBERED, sizeCalculation: () => 1, ttl: QUIET_MS });
  return (raised) => {
    const key = `${raised.rule} ${raised.certificate}`;
    if (recent.has(key)) return;
    recent.set(key, true);
    raise(raised);
  };
}
