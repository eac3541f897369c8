import { LRUCache } from 'lru-cache';
import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Rate } from '../config/schema.ts';
import type { Counter, LimitFinding, Standing } from '../policy/limits.ts';

/** Counts that exist once a gateway, with a shared store once for all of them. */
export interface Rates {
  /** Adds a request to these counts, as long as none of them is used up. */
  take(counters: readonly Counter[]): Promise<LimitFinding>;
  /** Adds to these counts whatever they are: what they count has happened. */
  add(counters: readonly Counter[]): Promise<void>;
}

export interface RatesOptions {
  /** Where counts are kept for all gateways; absent: here, for this one. */
  readonly shared?: { readonly redis: Redis; readonly prefix: string };
  readonly warn: (message: string) => void;
}

/** Counts that are kept in memory at most: of strangers there may be many. Those that were asked least recently go first. */
const MOST_COUNTS = 200_000;

/** How long a store that has failed is left alone: one that hangs would hold up every request for as long as a command may take. */
const LEFT_ALONE_MS = 1_000;

/** Where the counts of one length of window are. */
interface Window {
  readonly memory: RateLimiterMemory;
  readonly shared: RateLimiterRedis | undefined;
}

/**
 * Windows begin with the first request that they count. A shared store that is away is stood in for by counts of our own: each
 * gateway then allows the whole limit, which is more than the configuration says and less than no limit.
 */
export function createRates({ shared, warn }: RatesOptions): Rates {
  const windows = new Map<number, Window>();
  // By weight, each of one: by number it would take the room for all of them at once, some thirty megabytes.
  const kept = new LRUCache<string, { readonly memory: RateLimiterMemory; readonly key: string }>({ maxSize: MOST_COUNTS, sizeCalculation: () => 1, dispose: ({ memory, key }) => void memory.delete(key) });
  let away = false;
  /** On the monotonic clock: when a store that was away is asked again. */
  let again = 0;

  function windowOf({ window }: Rate): Window {
    let one = windows.get(window);
    if (one === undefined) {
      // The points are compared by ourselves: one limiter serves all limits of the same window.
      const options = { points: Number.MAX_SAFE_INTEGER, duration: window / 1000 };
      one = {
        memory: new RateLimiterMemory({ ...options, keyPrefix: '' }),
        shared: shared === undefined ? undefined : new RateLimiterRedis({ ...options, storeClient: shared.redis, keyPrefix: `${shared.prefix}:rate:${window / 1000}` }),
      };
      windows.set(window, one);
    }
    return one;
  }

  /** How a count stands in one window, `more` requests later. */
  async function count(rate: Rate, key: string, more: 0 | 1): Promise<{ readonly requests: number; readonly resets: number }> {
    const { memory, shared: store } = windowOf(rate);
    if (store !== undefined && (!away || performance.now() >= again)) {
      // Of those who come while it is away one finds out whether it is back.
      again = performance.now() + LEFT_ALONE_MS;
      try {
        const result = more === 0 ? await store.get(key) : await store.consume(key, more);
        away = false;
        return standing(result, rate);
      } catch (error) {
        if (error instanceof RateLimiterRes) {
          away = false;
          return standing(error, rate);
        }
        if (!away) warn(`rates are counted by this gateway alone: ${(error as Error).message}`);
        away = true;
        again = performance.now() + LEFT_ALONE_MS;
      }
    }
    const place = `${rate.window}/${key}`;
    if (kept.get(place) === undefined) kept.set(place, { memory, key });
    return standing(more === 0 ? await memory.get(key) : await memory.consume(key, more), rate);
  }

  function standing(result: RateLimiterRes | null, { window }: Rate): { readonly requests: number; readonly resets: number } {
    return result === null ? { requests: 0, resets: window } : { requests: result.consumedPoints, resets: Math.max(0, result.msBeforeNext) };
  }

  return {
    async take(counters) {
      const standings: Standing[] = [];
      for (const { rule, per, key, windows: rates, adds } of counters) {
        for (const rate of rates) {
          const { requests, resets } = await count(rate, `${rule}/${key}`, adds ? 1 : 0);
          const one: Standing = { per, rate: rate.text, limit: rate.requests, window: rate.window, remaining: Math.max(0, rate.requests - requests), resets };
          standings.push(one);
          // What is only looked at is used up when it is reached, what this request adds to when it is passed.
          if (adds ? requests > rate.requests : requests >= rate.requests) return { kind: 'exceeded', rule, exceeded: one, standings };
        }
      }
      return { kind: 'within', standings };
    },
    async add(counters) {
      for (const { rule, key, windows: rates } of counters) for (const rate of rates) await count(rate, `${rule}/${key}`, 1);
    },
  };
}
