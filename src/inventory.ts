import { resolve } from 'node:path';
import type { Device } from './config/inventory.ts';
import { formatIssue } from './config/issue.ts';
import { readInventoryFile, type Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';
import { watchFiles } from './revocation/watch.ts';
import type { ToThread } from './thread-protocol.ts';

/** The inventory of the gateway as a whole, kept by the main thread and told to the others. */
export interface Inventory {
  /** Takes what a new configuration names; `publish` follows. */
  adopt(snapshot: Snapshot): void;
  /** Tells everything, a part at a time: no thread may stand still over a hundred thousand devices. */
  tell(ask: (part: ToThread) => Promise<unknown>): Promise<void>;
  /** How many devices there are, by state. */
  counts(): ReadonlyMap<Device['state'], number>;
  close(): void;
}

export interface InventoryOptions {
  readonly snapshot: Snapshot;
  /** When the snapshot was read (ms since the epoch). */
  readonly readAt: number;
  readonly log: Log;
  /** One change at a time. */
  readonly serially: (change: () => Promise<void>) => Promise<void>;
  /** Has every thread take what is new, and judge open streams by it. */
  readonly publish: () => Promise<void>;
}

/** Devices that are told at a time: a thread takes some ten milliseconds over them. */
const PART = 2_000;
/** How soon a file that was being written is read again. */
const RETRY_MS = 2_000;

/** Keeps the inventory: from the configuration, and from its file whenever that changes. One that cannot be taken leaves the old one in force. */
export function openInventory({ snapshot, readAt, log, serially, publish }: InventoryOptions): Inventory {
  let current = snapshot;
  let devices = snapshot.devices ?? [];
  let closed = false;
  let retry: NodeJS.Timeout | undefined;
  const watcher = watchFiles({
    files: () => (current.config.devices?.inventory === undefined ? [] : [resolve(current.directory, current.config.devices.inventory)]),
    readAt,
    changed: () => void serially(reread),
  });

  async function reread(): Promise<void> {
    clearTimeout(retry);
    if (closed || current.config.devices === undefined) return;
    const result = await readInventoryFile(current);
    if (result.kind === 'invalid') {
      log.error({ issues: result.issues.slice(0, 20).map((issue) => formatIssue(issue)) }, 'the changed inventory cannot be taken; the old one stays in force');
      // It may have been half written.
      retry = setTimeout(() => void serially(rereadQuietly), RETRY_MS).unref();
      return;
    }
    await take(result.devices);
  }

  /** What is still wrong with it has been said. */
  async function rereadQuietly(): Promise<void> {
    if (closed || current.config.devices === undefined) return;
    const result = await readInventoryFile(current);
    if (result.kind === 'ok') await take(result.devices);
  }

  async function take(found: readonly Device[]): Promise<void> {
    devices = found;
    await publish();
    log.info({ devices: devices.length }, 'the inventory was read again');
  }

  return {
    adopt(next) {
      current = next;
      devices = next.devices ?? [];
    },
    async tell(ask) {
      const all = devices;
      for (let from = 0; from === 0 || from < all.length; from += PART) {
        await ask({ kind: 'devices', devices: all.slice(from, from + PART), first: from === 0, last: from + PART >= all.length });
      }
    },
    counts() {
      const counts = new Map<Device['state'], number>();
      for (const { state } of devices) counts.set(state, (counts.get(state) ?? 0) + 1);
      return counts;
    },
    close() {
      closed = true;
      clearTimeout(retry);
      watcher.close();
    },
  };
}
