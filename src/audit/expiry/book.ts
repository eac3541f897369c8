import type { KeptRow } from '../../store/alarms.ts';
import { ENDED, leadOf, nextTierAt, tierOf } from '../../pki/ending.ts';
import { endingOf, type Entry, type Watched } from './watched.ts';

/** Somebody is to be told that something is in a tier, `before` ms before its end; ENDED: behind it. */
export interface Due {
  readonly entry: Entry;
  readonly before: number;
}

/** A client's certificate at a use of it. */
export interface Use {
  readonly fingerprint: string;
  /** ms since the epoch */
  readonly at: number;
}

/** Everything that is watched, and who was told of what; in memory, `changes` says what is to be kept. Times are ms since the epoch. */
export interface Book {
  /** All that is held at the moment: certificates of the gateway's own, CAs, CRLs. What is not among them is in use no more. */
  hold(items: readonly Watched[], now: number): void;
  /** Whether a client's certificate is known; then it was used, too. */
  used(use: Use): boolean;
  /** A client's certificate that is not. */
  add(entry: Entry & Required<Pick<Entry, 'user'>>): void;
  /** Of whom somebody is to be told. `daily`: the hour has come at which everything is told; else only what cannot wait for it. */
  due(now: number, daily: boolean): readonly Due[];
  /** They are told, or as good as. */
  note(due: readonly Due[], channels: (before: number) => readonly string[], now: number): void;
  /** Whether `due` may say anything else than before. */
  isDue(now: number): boolean;
  get(key: string): Entry | undefined;
  /** Whether it is still in use, as far as anybody knows. */
  isInUse(entry: Entry, now: number): boolean;
  entries(): Iterable<Entry>;
  /** Forgets what has ended or has gone long ago. To be called now and then. */
  forget(now: number): void;
  /** What changed since the last call, and forgets that. */
  changes(): readonly KeptRow[];
}

export interface BookOptions {
  /** ms before the end */
  readonly tiers: readonly number[];
  /** Roles whose certificates nobody is told of. */
  readonly except: ReadonlySet<string>;
  readonly kept?: Iterable<unknown>;
}

export const ENTRY_ROWS = 'watched';

const DAY = 86_400_000;
const HOUR = 3_600_000;
/** Certificates of clients that are remembered; beyond, those that were not used for longest are forgotten. */
const MOST_USERS = 100_000;
/** What ends, or leaves a tier, sooner than this cannot wait for the next day. */
const SOON = 2 * DAY;
/** How long what has gone or ended is remembered, if it lived as long: it may come back with an older configuration. */
const REMEMBERED = 30 * DAY;
/** How old a last use may be when it is kept. */
const GRAIN = HOUR;

/** The first to end first; of those that end at once clients' last, since a text message has room for one name and everybody's matters more. */
export function bySoonest({ entry: left }: Due, { entry: right }: Due): number {
  return left.until - right.until || Number(left.use === 'user') - Number(right.use === 'user');
}

export function createBook({ tiers, except, kept = [] }: BookOptions): Book {
  const entries = new Map<string, Entry>();
  /** By owner, the certificate of his that ends last. */
  const newest = new Map<string, string>();
  const last = Math.min(...tiers);
  let changed = new Set<string>();
  let users = 0;
  /** Before this moment no answer changes. */
  let quietUntil = 0;
  for (const entry of kept as Iterable<Entry>) put(entry);
  changed = new Set();

  function put(entry: Entry): void {
    const before = entries.get(entry.key);
    if (entry.user !== undefined) {
      if (before === undefined) users += 1;
      // The one used last stands last.
      entries.delete(entry.key);
      const other = entries.get(newest.get(entry.user.owner) ?? '');
      if (other === undefined || other.until <= entry.until) newest.set(entry.user.owner, entry.key);
    }
    entries.set(entry.key, entry);
    changed.add(entry.key);
  }

  function drop({ key, user }: Entry): void {
    entries.delete(key);
    changed.add(key);
    if (user === undefined) return;
    users -= 1;
    if (newest.get(user.owner) === key) newest.delete(user.owner);
  }

  /** The clock was set back: what was told in a time to come was told by a wrong clock. */
  function toldOf({ told }: Entry, now: number): Entry['told'] {
    return told !== undefined && told.at > now + DAY ? undefined : told;
  }

  function isInUse({ key, until, gone, user }: Entry, now: number): boolean {
    if (user === undefined) return gone === undefined;
    if (now > until || except.has(user.role)) return false;
    const other = entries.get(newest.get(user.owner) ?? '');
    if (other?.user === undefined || other.key === key || other.until <= until) return true;
    // There is its renewal: it is out of use once it has not been used since, or not for a day.
    return user.seen > Math.max(other.user.first, now - DAY);
  }

  function dueOf(entry: Entry, now: number, daily: boolean): Due | undefined {
    const before = tierOf(tiers, endingOf(entry), now);
    if (before === undefined || !isInUse(entry, now)) return undefined;
    const told = toldOf(entry, now);
    if (told === undefined || before < told.before) {
      const soon = before === ENDED || leadOf(before, endingOf(entry)) < SOON || entry.until - now < SOON;
      return daily || soon ? { entry, before } : undefined;
    }
    return daily && before === told.before && before <= last && now - told.at >= DAY / 2 ? { entry, before } : undefined;
  }

  return {
    hold(items, now) {
      const held = new Set(items.map(({ key }) => key));
      for (const entry of entries.values()) if (entry.user === undefined && entry.gone === undefined && !held.has(entry.key)) put({ ...entry, gone: now });
      for (const item of items) {
        const { told, gone, ...before } = entries.get(item.key) ?? {};
        if (gone === undefined && JSON.stringify(before) === JSON.stringify(item)) continue;
        put({ ...item, ...(told === undefined ? {} : { told }) });
        quietUntil = 0;
      }
    },
    used({ fingerprint, at }) {
      const entry = entries.get(fingerprint);
      if (entry?.user === undefined) return false;
      const successor = entries.get(newest.get(entry.user.owner) ?? '')?.user?.first ?? Infinity;
      if (at < entry.user.seen + GRAIN && !(at > successor && entry.user.seen <= successor)) return true;
      put({ ...entry, user: { ...entry.user, seen: Math.max(at, entry.user.seen) } });
      return true;
    },
    add(entry) {
      put(entry);
      quietUntil = Math.min(quietUntil, tierOf(tiers, endingOf(entry), entry.user.seen) === undefined ? nextTierAt(tiers, endingOf(entry), entry.user.seen) : 0);
      if (users <= MOST_USERS) return;
      for (const one of entries.values()) {
        if (one.user === undefined) continue;
        drop(one);
        break;
      }
    },
    isDue: (now) => now >= quietUntil,
    due(now, daily) {
      const found: Due[] = [];
      // The clock may be set back, and the renewal of what is in use decides by the hour.
      quietUntil = now + HOUR;
      for (const entry of entries.values()) {
        quietUntil = Math.min(quietUntil, nextTierAt(tiers, endingOf(entry), now));
        const due = dueOf(entry, now, daily);
        if (due !== undefined) found.push(due);
      }
      return found.sort(bySoonest);
    },
    note(due, channels, now) {
      for (const { entry, before } of due) {
        const current = entries.get(entry.key);
        if (current !== undefined) put({ ...current, told: { before, at: now, channels: channels(before) } });
      }
    },
    get: (key) => entries.get(key),
    isInUse,
    entries: () => entries.values(),
    forget(now) {
      for (const entry of entries.values()) {
        const since = entry.user === undefined ? entry.gone : entry.until;
        if (since !== undefined && now - since > Math.min(REMEMBERED, entry.until - entry.from)) drop(entry);
      }
    },
    changes() {
      const rows = [...changed].map((key): KeptRow => {
        const value = entries.get(key);
        return { kind: ENTRY_ROWS, key, ...(value === undefined ? {} : { value }) };
      });
      changed = new Set();
      return rows;
    },
  };
}
