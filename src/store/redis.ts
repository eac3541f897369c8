import { Redis } from 'ioredis';
import type { StoreMaterial } from '../config/snapshot.ts';

const COMMAND_MS = 2_000;

/**
 * A connection to the store that gateways share. While the store is away commands fail at once: nothing waits for it, and whoever
 * asks decides what that means.
 */
export function openRedis(store: StoreMaterial, warn: (message: string) => void): Redis {
  const redis = new Redis(store.url, {
    lazyConnect: true, enableOfflineQueue: false, maxRetriesPerRequest: 0, commandTimeout: COMMAND_MS, connectTimeout: COMMAND_MS,
    retryStrategy: (times) => Math.min(100 * times, 1_000),
    ...(store.password === undefined ? {} : { password: store.password }),
    ...(store.trust === undefined ? {} : { tls: { ca: store.trust } }),
  });
  // Reported once an outage, not once an attempt.
  let away = false;
  redis.on('error', (error: Error) => {
    if (!away) warn(`the shared store is away: ${error.message}`);
    away = true;
  });
  redis.on('ready', () => {
    away = false;
  });
  redis.connect().catch(() => undefined);
  return redis;
}
