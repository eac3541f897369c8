import { hash } from 'node:crypto';
import type { KeptRow } from '../../store/alarms.ts';
import type { Channel } from '../alarms/channels/channel.ts';
import { bySoonest, type Book, type Due } from './book.ts';
import { announcementOf } from './words.ts';

/** What a channel is still to be told of: one message, whatever has come together. */
export interface Digest {
  /** The same as long as it is the same: receivers know by it what they have already. */
  readonly id: string;
  readonly items: readonly { readonly key: string; readonly before: number }[];
}

/** How a channel is told. */
export interface ChannelReport {
  readonly name: string;
  readonly pending: number;
  readonly delivered: number;
  readonly failed: number;
}

/** Messages on their way, one a channel; what one of them does not take waits and is tried again, for ever. Times are ms since the epoch. */
export interface Digests {
  add(channel: string, due: readonly Due[]): void;
  /** Sends what waits and may be sent. */
  look(): void;
  pending(key: string): readonly string[];
  report(): readonly ChannelReport[];
  changes(): readonly KeptRow[];
  /** Reads anew what is kept. */
  load(kept: readonly Required<KeptRow>[]): void;
  close(deadline: number): Promise<void>;
}

export interface DigestsOptions {
  readonly channels: readonly Channel[];
  readonly book: () => Book;
  readonly gateway: string;
  readonly now: () => number;
  /** Keeps what changed; throws when it cannot. */
  readonly commit: () => void;
  readonly warn: (detail: string) => void;
}

export const DIGEST_ROWS = 'digest';

/** Certificates that a message names; the rest is counted. */
const NAMED = 200;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5 * 60_000;

interface Way {
  readonly channel: Channel;
  busy: Promise<void> | undefined;
  /** Not before. */
  next: number;
  pause: number;
  delivered: number;
  failed: number;
}

export function createDigests({ channels, book, gateway, now, commit, warn }: DigestsOptions): Digests {
  const ways = channels.map((channel): Way => ({ channel, busy: undefined, next: 0, pause: 0, delivered: 0, failed: 0 }));
  const known = new Set(channels.map(({ name }) => name));
  const waiting = new Map<string, Digest>();
  let changed = new Set<string>();
  let closed = false;

  function put(channel: string, items: Digest['items']): void {
    if (items.length === 0) waiting.delete(channel);
    else waiting.set(channel, { id: hash('sha256', JSON.stringify([channel, now(), items]), 'hex').slice(0, 32), items });
    changed.add(channel);
  }

  /** What of a digest is still so: who has replaced a certificate meanwhile need not hear of it. */
  function stillDue({ items }: Digest): readonly Due[] {
    return items.flatMap(({ key, before }): Due[] => {
      const entry = book().get(key);
      return entry === undefined || !book().isInUse(entry, now()) ? [] : [{ entry, before }];
    }).sort(bySoonest);
  }

  async function send(way: Way, digest: Digest): Promise<void> {
    const { channel } = way;
    try {
      const due = stillDue(digest);
      if (due.length > 0) await channel.announce(announcementOf(due.slice(0, NAMED), Math.max(0, due.length - NAMED), gateway, now()), digest.id);
      // What has come meanwhile stays.
      const sent = new Set(digest.items.map(({ key, before }) => `${before} ${key}`));
      const rest = waiting.get(channel.name);
      if (rest !== undefined) put(channel.name, rest.id === digest.id ? [] : rest.items.filter(({ key, before }) => !sent.has(`${before} ${key}`)));
      commit();
      if (way.pause > 0) warn(`the alarm channel ${channel.name} takes warnings again`);
      way.pause = 0;
      way.next = 0;
      if (due.length > 0) way.delivered += 1;
    } catch (error) {
      if (way.pause === 0) warn(`the alarm channel ${channel.name} takes no warnings: ${(error as Error).message}`);
      way.pause = Math.min(LONGEST_PAUSE_MS, Math.max(FIRST_PAUSE_MS, way.pause * 2));
      way.next = now() + way.pause;
      way.failed += 1;
    }
  }

  return {
    add(channel, due) {
      const fresh = due.map(({ entry, before }) => ({ key: entry.key, before }));
      const again = new Set(fresh.map(({ key }) => key));
      put(channel, [...fresh, ...(waiting.get(channel)?.items ?? []).filter(({ key }) => !again.has(key))]);
    },
    look() {
      if (closed) return;
      for (const way of ways) {
        const digest = waiting.get(way.channel.name);
        // The clock may have been set back.
        const pauses = now() < way.next && way.next <= now() + LONGEST_PAUSE_MS;
        if (digest === undefined || way.busy !== undefined || pauses) continue;
        way.busy = send(way, digest).finally(() => {
          way.busy = undefined;
        });
      }
    },
    pending: (key) => [...waiting].filter(([, { items }]) => items.some((item) => item.key === key)).map(([channel]) => channel),
    report: () => ways.map(({ channel: { name }, delivered, failed }) => ({ name, delivered, failed, pending: waiting.get(name)?.items.length ?? 0 })),
    changes() {
      const rows = [...changed].map((key): KeptRow => {
        const value = waiting.get(key);
        return { kind: DIGEST_ROWS, key, ...(value === undefined ? {} : { value }) };
      });
      changed = new Set();
      return rows;
    },
    load(kept) {
      waiting.clear();
      changed = new Set();
      for (const { key, value } of kept) if (known.has(key)) waiting.set(key, value as Digest);
    },
    async close(deadline) {
      closed = true;
      await Promise.race([Promise.all(ways.map(({ busy }) => busy)), new Promise((resolve) => setTimeout(resolve, deadline).unref())]);
      for (const { channel } of ways) channel.close();
    },
  };
}
