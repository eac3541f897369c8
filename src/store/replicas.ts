import type { Redis } from 'ioredis';
import { AHEAD_MS, ENDING_AHEAD_MS, type ChangeKind, type Dated } from './journal.ts';
import { createVouching } from './vouched.ts';

/** A list of changes that all gateways with the same store share. */
export interface SharedList<Change> extends ChangeKind<Change> {
  /** Where it is in the store; never two alike. */
  readonly name: string;
  /** The last change of every subject known here. */
  readonly changes: () => readonly Change[];
  /** A change made elsewhere that wins over ours. */
  readonly receive: (change: Change) => void;
  readonly isNews: (change: Change) => boolean;
}

/** This gateway among its replicas. */
export interface Replicas {
  /** Shares a list from now on. The answer tells the others of a change that is in force here; when the store is away they hear of it on its return. */
  share<Change extends Dated>(list: SharedList<Change>): (change: Change) => Promise<void>;
  state(): ReplicaState;
  close(): void;
}

export interface ReplicaState {
  readonly connected: boolean;
  /** ISO 8601; when the shared lists were last compared with ours in full. */
  readonly synchronized_at?: string;
  readonly error?: string;
}

export interface ReplicasOptions {
  readonly redis: Redis;
  /** What its keys begin with. */
  readonly prefix: string;
  /** What changes are vouched for with; absent: whoever can write to the store is believed. */
  readonly key?: Uint8Array | undefined;
  readonly now: () => number;
  readonly warn: (message: string) => void;
}

/** How often the shared version is looked at: polled, since a message that was published while we were away is lost. */
const POLL_MS = 500;

/**
 * Sets a subject's change if it is the later one, the winning operation over a tie, and moves the version: one step, so that two writers cannot
 * lose one. Arguments: the subject, the change, its time, its operation, the winning one, what may stand there in whose place it is set whatever it says.
 */
const SET_IF_NEWS = `
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and known ~= ARGV[6] then
  local ok, change = pcall(cjson.decode, known)
  if ok and type(change) == 'table' and type(change.at) == 'string' and (change.at > ARGV[3] or (change.at == ARGV[3] and (change.op == ARGV[5] or ARGV[4] ~= ARGV[5]))) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[2])
return 1`;

/** What cannot be taken from the store is told of once, up to this many of each list; of more nothing is said. */
const MOST_REFUSED = 1_000;

/** One list as it is compared with the store. */
interface Comparison {
  readonly version: string;
  /** Takes what is newer there, brings what is newer here, if its version in the store is another than the one that was compared last. */
  compare(version: string | null): Promise<void>;
  /** What was compared counts no more. */
  forget(): void;
}

/**
 * Keeps lists the same on every gateway that names the same store. They live in each gateway's own journals; the
 * store only carries what changed, so a store that is lost, emptied or unreachable takes nothing away: on its return each
 * gateway brings what it lacks and takes what it missed.
 */
export function openReplicas(options: ReplicasOptions): Replicas {
  const { redis, prefix } = options;
  const vouching = createVouching(options.key);
  const lists: Comparison[] = [];
  let synchronizedAt: number | undefined;
  let lastError: string | undefined;
  let busy = false;
  redis.on('error', (error: Error) => {
    lastError = error.message;
  });
  redis.on('close', forget);
  const timer = setInterval(() => void poll(), POLL_MS);
  timer.unref();

  function forget(): void {
    for (const list of lists) list.forget();
  }

  async function poll(): Promise<void> {
    if (busy || redis.status !== 'ready') return;
    busy = true;
    try {
      const compared = [...lists];
      const versions = compared.length === 0 ? [] : await redis.mget(compared.map(({ version }) => version));
      for (const [index, list] of compared.entries()) await list.compare(versions[index] ?? null);
      lastError = undefined;
    } catch (error) {
      lastError = (error as Error).message;
      forget();
    } finally {
      busy = false;
    }
  }

  function share<Change extends Dated>(list: SharedList<Change>): (change: Change) => Promise<void> {
    const { parse, subject: subjectOf, winner, ends } = list;
    const keys = { list: `${prefix}:${list.name}`, version: `${prefix}:${list.name}:version` };
    const placeOf = (subject: string): string => `${keys.list} ${subject}`;
    let version: string | null | undefined;

    /** By subject, as it stood in the store: what was nothing of the list, and what is not believed yet. */
    const refused = new Map<string, string>();
    /** When something that is not believed yet will be, in ms since the epoch. */
    let again = Infinity;

    async function synchronize(sharedVersion: string | null): Promise<void> {
      const shared = new Map<string, Change>();
      const insisted = new Set<string>();
      const limit = new Date(options.now() + AHEAD_MS).toISOString();
      const endingLimit = new Date(options.now() + ENDING_AHEAD_MS).toISOString();
      again = Infinity;
      for (const [subject, text] of Object.entries(await redis.hgetall(keys.list))) {
        const json = vouching.open(text, placeOf(subject));
        const change = json === undefined ? undefined : parse(json);
        const whole = change !== undefined && subjectOf(change) === subject;
        if (whole && change.at <= (change.op === ends ? endingLimit : limit)) {
          shared.set(subject, change);
          if (refused.get(subject) === text) refused.delete(subject);
          continue;
        }
        if (whole) again = Math.min(again, Date.parse(change.at) - AHEAD_MS);
        if (refused.get(subject) === text) {
          if (whole || json === undefined) insisted.add(subject);
          continue;
        }
        if (refused.size >= MOST_REFUSED && !refused.has(subject)) continue;
        refused.set(subject, text);
        // Not under which name: it may be somebody's.
        const about = `of ${list.name} in one of its places`;
        options.warn(whole ? `the shared store holds a change ${about} of ${change.at}, more than 5 minutes ahead of this clock: it is not taken before` : `the shared store holds nothing ${about}${json === undefined ? ' that was put there with the key of store.key_file' : ''}`);
      }
      for (const change of shared.values()) if (list.isNews(change)) list.receive(change);
      let brought = false;
      for (const change of list.changes()) {
        const subject = subjectOf(change);
        const known = shared.get(subject);
        if (known?.at === change.at && known.op === change.op) continue;
        // Ours was put in its place: whose clock is ahead, or who has another key, has put it back, and would again, for as long as that lasts.
        if (insisted.has(subject)) continue;
        brought = await push(change) || brought;
      }
      // What we brought moved the version; whatever came meanwhile moves it further and is seen at the next look.
      version = brought ? undefined : sharedVersion;
      synchronizedAt = options.now();
    }

    /** False when the store knows a later change of the subject: then the lists have to be compared. */
    async function push(change: Change): Promise<boolean> {
      const subject = subjectOf(change);
      return await redis.eval(SET_IF_NEWS, 2, keys.list, keys.version, subject, vouching.vouch(JSON.stringify(change), placeOf(subject)), change.at, change.op, winner, refused.get(subject) ?? '') === 1;
    }

    lists.push({
      version: keys.version,
      async compare(sharedVersion) {
        if (version !== sharedVersion || version === undefined || options.now() >= again) await synchronize(sharedVersion);
      },
      forget() {
        version = undefined;
      },
    });
    return async (change) => {
      // Whatever fails here is brought by the next synchronization.
      const taken = await push(change).catch(() => false);
      if (!taken) version = undefined;
    };
  }

  return {
    share,
    state: () => ({
      connected: redis.status === 'ready',
      ...(synchronizedAt === undefined ? {} : { synchronized_at: new Date(synchronizedAt).toISOString() }),
      ...(lastError === undefined ? {} : { error: lastError }),
    }),
    close() {
      clearInterval(timer);
    },
  };
}
