import { hash } from 'node:crypto';
import { endOfHours } from '../../policy/hours.ts';
import { nextTierAt, tierOf } from '../../pki/ending.ts';
import { openAlarmStore, type KeptRow } from '../../store/alarms.ts';
import { openChannel } from '../alarms/channels/open.ts';
import type { ChannelSetup } from '../alarms/channels/channel.ts';
import type { FedRecord } from '../feed.ts';
import type { AuditRecord } from '../record.ts';
import { createBook, ENTRY_ROWS } from './book.ts';
import { createDigests, DIGEST_ROWS, type ChannelReport } from './digests.ts';
import { reportOf, type EntryReport } from './report.ts';
import { endingOf, type Entry, type Watched } from './watched.ts';

/** Everything that warnings are made of; structured-cloneable. */
export interface ExpirySetup {
  /** Where what is kept of them lies. */
  readonly file: string;
  /** Who is told in each tier; `before` in ms, channels by name. */
  readonly tiers: readonly { readonly before: number; readonly channels: readonly string[] }[];
  /** When warnings are sent: minutes of the day, by the clocks of a time zone. */
  readonly at: number;
  readonly timezone: string;
  /** Roles of whose certificates nobody is told; absent: those of clients are not looked at. */
  readonly except?: readonly string[];
  readonly channels: readonly ChannelSetup[];
}

/** How warnings stand. */
export interface ExpiryStanding {
  /** How many of the clients' certificates are in each tier, by its name. */
  readonly users: Readonly<Record<string, number>>;
  readonly channels: readonly ChannelReport[];
}

export interface ExpiryList {
  /** The first to end first. */
  readonly entries: readonly EntryReport[];
  /** How many there are beside those. */
  readonly more: number;
}

/** Warnings of what ends: fed with records and with what the gateway holds, they tell each channel once a tier, and daily in the last. */
export interface Expiry {
  /** Rejects, and has taken nothing, when what came of the records cannot be kept; the same may come again. */
  take(batch: readonly Pick<FedRecord, 'record'>[]): void;
  /** All that is held from now on. */
  hold(items: readonly Watched[]): void;
  /** Looks whether somebody is to be told. To be called about once a second. */
  look(): void;
  /** What ends within so many ms. */
  list(within: number, most: number): ExpiryList;
  standing(): ExpiryStanding;
  close(deadline: number): Promise<void>;
}

export interface ExpiryGround {
  readonly mask: (record: AuditRecord) => AuditRecord;
  /** The gateway's name, for those who are told. */
  readonly host: string;
  /** ms since the epoch */
  readonly now: () => number;
  readonly warn: (detail: string) => void;
}

const TURN_ROWS = 'turn';
const EVERY_DAY = 0b111_1111;
/** What cannot wait for the next day waits so long for what comes with it. */
const TOGETHER_MS = 10 * 60_000;
const HOUR_MS = 3_600_000;

export function openExpiry({ file, tiers, at: minute, timezone, except, channels }: ExpirySetup, { mask, host, now, warn }: ExpiryGround): Expiry {
  const store = openAlarmStore(file);
  const lengths = tiers.map(({ before }) => before);
  const last = tiers.find(({ before }) => before === Math.min(...lengths));
  const options = { tiers: lengths, except: new Set(except ?? []) };
  let book = createBook({ ...options, kept: valuesOf(ENTRY_ROWS) });
  /** When everything is told next, and what cannot wait; ms since the epoch. */
  let daily = (valuesOf(TURN_ROWS)[0] as { readonly next: number } | undefined)?.next ?? 0;
  let soonest = 0;
  let forgetAt = 0;
  let isHeld = false;
  const digests = createDigests({ channels: channels.map((setup) => openChannel(setup, host, now)), book: () => book, gateway: host, now, commit, warn });
  digests.load(store.rows(DIGEST_ROWS));

  function valuesOf(kind: string): unknown[] {
    return store.rows(kind).map(({ value }) => value);
  }

  /** All that has changed, or nothing: then what is in memory is read anew. */
  function commit(more: readonly KeptRow[] = []): void {
    try {
      store.commit([...book.changes(), ...digests.changes(), ...more]);
    } catch (error) {
      book = createBook({ ...options, kept: valuesOf(ENTRY_ROWS) });
      digests.load(store.rows(DIGEST_ROWS));
      throw error;
    }
  }

  function told(before: number): readonly string[] {
    return (tiers.find((tier) => tier.before === before) ?? last)?.channels ?? [];
  }

  function nextDaily(at: number): number {
    return endOfHours({ zone: timezone, windows: [{ days: EVERY_DAY, from: minute, to: minute }] }, at) ?? at;
  }

  function tell(at: number): void {
    // The clock may have been set back.
    daily = Math.min(daily, nextDaily(at));
    soonest = Math.min(soonest, at + TOGETHER_MS);
    const isDaily = at >= daily;
    if (!isDaily && (at < soonest || !book.isDue(at))) return;
    const due = book.due(at, isDaily);
    for (const { name } of channels) {
      const own = due.filter(({ before }) => told(before).includes(name));
      if (own.length > 0) digests.add(name, own);
    }
    book.note(due, told, at);
    const next = isDaily ? nextDaily(at) : daily;
    // On the disk before anything is sent: what is sent and not noted would be sent again after every kill.
    if (due.length > 0 || isDaily) commit([{ kind: TURN_ROWS, key: 'daily', value: { next } }]);
    // Behind it: what could not be kept is due again.
    daily = next;
    if (due.length > 0) soonest = at + TOGETHER_MS;
  }

  /** What a record says of a certificate that a client has used; undefined when it says nothing. */
  function userOf(record: AuditRecord): (Entry & Required<Pick<Entry, 'user'>>) | undefined {
    const { time, fingerprint, not_before: from, not_after: until, role, serial, issuer, id } = record;
    if (fingerprint === undefined || until === undefined || role === undefined) return undefined;
    const at = Date.parse(time);
    const shown = mask(record);
    return {
      key: fingerprint, use: 'user', name: shown.subject ?? '', places: [], from: Date.parse(from ?? time), until: Date.parse(until),
      ...(serial === undefined ? {} : { serial }), ...(issuer === undefined ? {} : { issuer: shown.issuer ?? '' }),
      user: { role, ...(shown.id === undefined ? {} : { id: shown.id }), owner: hash('sha256', JSON.stringify([role, id ?? fingerprint]), 'hex').slice(0, 32), first: at, seen: at },
    };
  }

  return {
    take(batch) {
      if (except === undefined) return;
      for (const { record } of batch) {
        const { fingerprint, event, result } = record;
        // Whoever was refused has not used his certificate: a stranger's must not be remembered.
        if (fingerprint === undefined || result === 'denied' || (event !== 'request' && event !== 'connection')) continue;
        if (book.used({ fingerprint, at: Date.parse(record.time) })) continue;
        const user = userOf(record);
        if (user !== undefined) book.add(user);
      }
      commit();
    },
    hold(items) {
      isHeld = true;
      book.hold(items, now());
      commit();
    },
    look() {
      const at = now();
      try {
        if (isHeld) tell(at);
        if (at >= forgetAt || forgetAt > at + HOUR_MS) {
          forgetAt = at + HOUR_MS;
          book.forget(at);
          commit();
        }
      } catch (error) {
        warn(`warnings of what ends cannot be kept: ${(error as Error).message}`);
      }
      digests.look();
    },
    list(within, most) {
      const at = now();
      const found = [...book.entries()].filter((entry) => entry.gone === undefined && entry.until - at <= within && (entry.user === undefined || entry.until > at));
      const shown = found.sort((left, right) => left.until - right.until).slice(0, most);
      return { entries: shown.map((entry) => reportOf(entry, { tiers: lengths, now: at, isInUse: book.isInUse(entry, at), waiting: digests.pending(entry.key) })), more: found.length - shown.length };
    },
    standing() {
      const counts = new Map<number, number>();
      const at = now();
      for (const entry of book.entries()) {
        if (entry.user === undefined || nextTierAt(lengths, endingOf(entry), at) === Infinity) continue;
        const tier = tierOf(lengths, endingOf(entry), at);
        if (tier !== undefined && book.isInUse(entry, at)) counts.set(tier, (counts.get(tier) ?? 0) + 1);
      }
      return { users: Object.fromEntries(counts), channels: digests.report() };
    },
    async close(deadline) {
      await digests.close(deadline);
      store.close();
    },
  };
}
