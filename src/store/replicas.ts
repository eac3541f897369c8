import type { Redis } from 'ioredis';
import { parseDenyChange, subjectText, type DenyChange } from './deny-list.ts';

/** This gateway among its replicas. */
export interface Replicas {
  /** Tells the others of a change that is in force here. When the store is away they hear of it on its return. */
  announce(change: DenyChange): Promise<void>;
  /** Tells the others that revocation data changed, so that they look at their sources now. */
  moveEpoch(): Promise<void>;
  state(): ReplicaState;
  close(): void;
}

export interface ReplicaState {
  readonly connected: boolean;
  /** ISO 8601; when the shared list was last compared with ours in full. */
  readonly synchronized_at?: string;
  readonly error?: string;
}

export interface ReplicasOptions {
  readonly redis: Redis;
  /** What its keys begin with. */
  readonly prefix: string;
  /** The last change of every subject known here. */
  readonly changes: () => readonly DenyChange[];
  /** A change made elsewhere that wins over ours. */
  readonly receive: (change: DenyChange) => void;
  readonly isNews: (change: DenyChange) => boolean;
  readonly epochMoved: () => void;
  readonly now: () => number;
  readonly warn: (message: string) => void;
}

/** How often the shared version is looked at: polled, since a message that was published while we were away is lost. */
const POLL_MS = 500;

/** Sets a subject's change if it is the later one, a denial over a tie, and moves the version: one step, so that two writers cannot lose one. */
const SET_IF_NEWS = `
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local ok, change = pcall(cjson.decode, known)
  if ok and type(change) == 'table' and type(change.at) == 'string' and (change.at > ARGV[3] or (change.at == ARGV[3] and (change.op == 'deny' or ARGV[4] ~= 'deny'))) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[2])
return 1`;

/**
 * Keeps the deny list the same on every gateway that names the same store. The list lives in each gateway's own journal; the
 * store only carries what changed, so a store that is lost, emptied or unreachable takes nothing away: on its return each
 * gateway brings what it lacks and takes what it missed.
 */
export function openReplicas(options: ReplicasOptions): Replicas {
  const { redis, prefix } = options;
  const keys = { list: `${prefix}:deny`, version: `${prefix}:deny:version`, epoch: `${prefix}:epoch` };
  let version: string | null | undefined;
  let epoch: string | null | undefined;
  let synchronizedAt: number | undefined;
  let lastError: string | undefined;
  let busy = false;
  redis.on('error', (error: Error) => {
    lastError = error.message;
  });
  redis.on('close', () => {
    version = undefined;
  });
  const timer = setInterval(() => void poll(), POLL_MS);
  timer.unref();

  async function poll(): Promise<void> {
    if (busy || redis.status !== 'ready') return;
    busy = true;
    try {
      const [sharedVersion = null, sharedEpoch = null] = await redis.mget(keys.version, keys.epoch);
      if (version !== sharedVersion || version === undefined) await synchronize(sharedVersion);
      if (epoch !== undefined && sharedEpoch !== epoch) options.epochMoved();
      epoch = sharedEpoch;
      lastError = undefined;
    } catch (error) {
      lastError = (error as Error).message;
      version = undefined;
    } finally {
      busy = false;
    }
  }

  /** Takes what is newer there, brings what is newer here. */
  async function synchronize(sharedVersion: string | null): Promise<void> {
    const shared = new Map<string, DenyChange>();
    for (const [subject, text] of Object.entries(await redis.hgetall(keys.list))) {
      const change = parseDenyChange(text);
      if (change === undefined || subjectText(change) !== subject) options.warn(`the shared store holds no deny list entry under ${JSON.stringify(subject.slice(0, 80))}`);
      else shared.set(subject, change);
    }
    for (const change of shared.values()) if (options.isNews(change)) options.receive(change);
    let brought = false;
    for (const change of options.changes()) {
      const known = shared.get(subjectText(change));
      if (known?.at === change.at && known.op === change.op) continue;
      brought = await push(change) || brought;
    }
    // What we brought moved the version; whatever came meanwhile moves it further and is seen at the next look.
    version = brought ? undefined : sharedVersion;
    synchronizedAt = options.now();
  }

  /** False when the store knows a later change of the subject: then the lists have to be compared. */
  async function push(change: DenyChange): Promise<boolean> {
    return await redis.eval(SET_IF_NEWS, 2, keys.list, keys.version, subjectText(change), JSON.stringify(change), change.at, change.op) === 1;
  }

  return {
    async announce(change) {
      // Whatever fails here is brought by the next synchronization.
      const taken = await push(change).catch(() => false);
      if (!taken) version = undefined;
    },
    async moveEpoch() {
      const moved = await redis.incr(keys.epoch).catch(() => undefined);
      if (moved !== undefined) epoch = String(moved);
    },
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
