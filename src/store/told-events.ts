import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { areTexts, fieldsOf, isTime, openJournal, readJournal, unusable, type JournalOptions } from './journal.ts';
import { writeWhole } from './whole-file.ts';

/** What is known of an id before an event is taken under it. `free`: nothing, and on no other gateway will another event be taken under it. */
export type ClaimedId = 'free' | 'taken' | 'of another event';

/** Events that have been taken, by sender and id: the same once more is no news, another under the same id is a fault. */
export interface ToldEvents {
  /**
   * Keeps an id for an event, before anything of it is done: of different ones that reach two gateways at the same moment, one is taken. The same
   * event finds it free on each of them until it has been taken; the first of them may be lost with what it had begun.
   */
  claim(webhook: string, id: string, digest: string): Promise<ClaimedId>;
  /** Gives an id back under which nothing was done. */
  release(webhook: string, id: string, digest: string): Promise<void>;
  /** Durable when it resolves. */
  remember(webhook: string, id: string, digest: string, now: number): Promise<void>;
  close(): void;
}

interface ToldEvent {
  readonly op: 'told';
  readonly webhook: string;
  readonly id: string;
  readonly digest: string;
  readonly at: string;
}

/** How long an id is remembered: longer than any sender repeats itself. */
const KEPT_MS = 30 * 86_400_000;
/** Of more than these the oldest are forgotten. */
const MOST = 100_000;
/** How long an id is kept for an event that was begun and not taken: its sender may correct it after that. */
const CLAIMED_MS = 2 * 60_000;
/** What stands in the store before the digest of an event that is not taken yet. */
const CLAIM = 'claim ';

/** Keeps an id unless it is kept, and answers with what stands there. Arguments: the claim, how long it holds in ms. */
const CLAIM_ID = `
local known = redis.call('GET', KEYS[1])
if known then return known end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`;

const RELEASE_ID = `
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0`;

/** Opens the events of a state directory, whose lock the caller holds; with a shared store, those that other gateways have taken count too. */
export function openToldEvents(state: string, now: number, shared?: { readonly redis: Redis; readonly prefix: string }): ToldEvents {
  const options = journalOf(state);
  forgetOld(options, now);
  let journal = openJournal(options);

  return {
    async claim(webhook, id, digest) {
      const ours = journal.last(subjectOf({ webhook, id }))?.digest;
      // While the store is away: what an event does twice it does once, and the later of two wins.
      const known = ours ?? (shared === undefined ? undefined : await shared.redis.eval(CLAIM_ID, 1, sharedKey(shared.prefix, webhook, id), CLAIM + digest, CLAIMED_MS).catch(() => undefined));
      if (known === undefined || known === CLAIM + digest) return 'free';
      return known === digest ? 'taken' : 'of another event';
    },
    async release(webhook, id, digest) {
      await shared?.redis.eval(RELEASE_ID, 1, sharedKey(shared.prefix, webhook, id), CLAIM + digest).catch(() => undefined);
    },
    async remember(webhook, id, digest, at) {
      journal.append({ op: 'told', webhook, id, digest, at: new Date(at).toISOString() });
      if (journal.latest().length > MOST * 1.5) {
        journal.close();
        forgetOld(options, at);
        journal = openJournal(options);
      }
      await shared?.redis.set(sharedKey(shared.prefix, webhook, id), digest, 'PX', KEPT_MS).catch(() => undefined);
    },
    close: () => journal.close(),
  };
}

function sharedKey(prefix: string, webhook: string, id: string): string {
  return `${prefix}:webhook:${JSON.stringify([webhook, id])}`;
}

function subjectOf({ webhook, id }: Pick<ToldEvent, 'webhook' | 'id'>): string {
  return JSON.stringify([webhook, id]);
}

function journalOf(state: string): JournalOptions<ToldEvent> {
  return {
    file: join(state, 'webhook-events.jsonl'), entry: 'event', fault: unusable('events_unusable'), parse: parseEvent, subject: subjectOf, winner: 'told',
  };
}

function parseEvent(json: string): ToldEvent | undefined {
  const fields = fieldsOf(json);
  return fields !== undefined && areTexts(fields, ['webhook', 'id', 'digest']) && isTime(fields['at']) ? (fields as unknown as ToldEvent) : undefined;
}

/** Writes the file anew without what is too old, or too much. */
function forgetOld(options: JournalOptions<ToldEvent>, now: number): void {
  const events = readJournal(options);
  const kept = events.filter(({ at }) => Date.parse(at) > now - KEPT_MS).slice(-MOST);
  if (kept.length === events.length) return;
  writeWhole(options.file, kept.map((event) => `${JSON.stringify(event)}\n`).join(''));
}
