import { resolve } from 'node:path';
import type { Device } from './config/device.ts';
import { formatIssue } from './config/issue.ts';
import { readInventoryFile } from './config/read-again.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';
import { watchFiles } from './revocation/watch.ts';
import { deviceKey, withTold, type DeviceChange } from './store/told-devices.ts';
import type { ToThread } from './thread-protocol.ts';

/** The inventory of the gateway as a whole, kept by the main thread and told to the others. */
export interface Inventory {
  /** Takes what a new configuration names; `publish` follows. */
  adopt(snapshot: Snapshot): void;
  /** Tells everything, a part at a time: no thread may stand still over a hundred thousand devices. */
  tell(ask: (part: ToThread) => Promise<unknown>): Promise<void>;
  /** Tells what one device is by now. */
  tellOne(id: string, ask: (part: ToThread) => Promise<unknown>): Promise<void>;
  /** A device as it is by now. */
  get(id: string): Device | undefined;
  /** How many devices there are, by state. */
  counts(): ReadonlyMap<Device['state'], number>;
  close(): void;
}

export interface InventoryOptions {
  readonly snapshot: Snapshot;
  /** When the snapshot was read (ms since the epoch). */
  readonly readAt: number;
  /** What other systems have told of devices; it stands above the file. */
  readonly told: () => readonly DeviceChange[];
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
export function openInventory({ snapshot, readAt, told, log, serially, publish }: InventoryOptions): Inventory {
  let current = snapshot;
  let devices = snapshot.devices ?? [];
  let closed = false;
  let retry: NodeJS.Timeout | undefined;
  /** Told one by one while somebody is being told all of them, who must hear of these again. */
  let toldMeanwhile: string[] = [];
  let telling = 0;
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

  function get(id: string): Device | undefined {
    return withTold(devices, told()).find((device) => deviceKey(device.id) === deviceKey(id));
  }

  function oneOf(id: string): ToThread {
    const device = get(id);
    return { kind: 'device', id, ...(device === undefined ? {} : { device }) };
  }

  return {
    adopt(next) {
      current = next;
      devices = next.devices ?? [];
    },
    async tell(ask) {
      telling++;
      try {
        const before = toldMeanwhile.length;
        const all = withTold(devices, told());
        for (let from = 0; from === 0 || from < all.length; from += PART) {
          await ask({ kind: 'devices', devices: all.slice(from, from + PART), first: from === 0, last: from + PART >= all.length });
        }
        for (let index = before; index < toldMeanwhile.length; index++) await ask(oneOf(toldMeanwhile[index] as string));
      } finally {
        telling--;
        if (telling === 0) toldMeanwhile = [];
      }
    },
    async tellOne(id, ask) {
      if (telling > 0) toldMeanwhile.push(id);
      await ask(oneOf(id));
    },
    get,
    counts() {
      const counts = new Map<Device['state'], number>();
      for (const { state } of withTold(devices, told())) counts.set(state, (counts.get(state) ?? 0) + 1);
      return counts;
    },
    close() {
      closed = true;
      clearTimeout(retry);
      watcher.close();
    },
  };
}
