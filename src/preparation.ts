import { closeSync } from 'node:fs';
import type { Snapshot } from './config/snapshot.ts';
import type { UpstreamWatch } from './forward/upstream/watch.ts';
import { createPortLocks } from './store/port-lock.ts';
import type { Descriptors, PrepareAnswer, ToThread } from './thread-protocol.ts';
import type { Threads } from './threads.ts';
import { assertFreePort } from './tls/free-port.ts';
import { randomTicketSecret } from './tls/tickets.ts';

/** Prepares configurations on the threads, and knows what those listen on. */
export interface Preparation {
  /** Prepares a snapshot on every thread, the first one finding free ports; all or none. */
  prepare(snapshot: Snapshot): Promise<void>;
  /** What a thread that replaces another has to prepare. */
  again(snapshot: Snapshot): ToThread;
  /** The sockets that the threads listen on. */
  listening(): Promise<readonly Listening[]>;
  /** The port that a listener is bound to. */
  portOf(listener: string): number | undefined;
  release(): void;
}

const ASK_MS = 5_000;

/** Listening sockets of one address, for a process that comes after this one. */
export interface Listening {
  readonly listener: string;
  /** As the configuration writes it. */
  readonly address: string;
  readonly descriptors: readonly number[];
}

type Listeners = Snapshot['config']['listeners'];

/** `inherited` are sockets of the process before; those of listeners that are not configured any more are closed. */
export function createPreparation(threads: Threads, upstreams: UpstreamWatch, inherited: readonly Listening[] = []): Preparation {
  let left = inherited;
  const locks = createPortLocks();
  const ticketSecret = randomTicketSecret(Date.now());
  let ports: Readonly<Record<string, number>> = {};
  let ours: Listeners = [];

  /** An address that is ours already may go to another name; any other must be nobody's. */
  async function claim(listeners: Listeners, mine: Descriptors): Promise<void> {
    for (const { name, address } of listeners) {
      if (address.port === 0 || ours.some((listener) => listener.address.text === address.text)) continue;
      await locks.take(address.host, address.port);
      if (mine[name] === undefined) await assertFreePort(address.host, address.port);
    }
  }

  function keptPorts(listeners: Listeners): Readonly<Record<string, number>> {
    const kept = listeners.filter(({ name, address }) => ours.some((listener) => listener.name === name && listener.address.text === address.text));
    return Object.fromEntries(kept.flatMap(({ name }) => (ports[name] === undefined ? [] : [[name, ports[name]]])));
  }

  /** A socket goes to the listener of its address, whatever that is called by now; where any port will do, to the listener of its name. */
  function taken(listeners: Listeners): Descriptors {
    const found = new Map(listeners.flatMap(({ name, address }) => left.filter((one) => one.address === address.text && (address.port !== 0 || one.listener === name)).map((one) => [name, one] as const)));
    for (const one of left) if (![...found.values()].includes(one)) for (const fd of one.descriptors) closeSync(fd);
    left = [];
    return Object.fromEntries([...found].map(([name, { descriptors }]) => [name, descriptors]));
  }

  return {
    async prepare(snapshot) {
      const { listeners } = snapshot.config;
      // Before anything is looked for that is free: sockets that nobody takes stand in the way of another address of the same port.
      const mine = taken(listeners);
      await claim(listeners, mine);
      try {
        const ask = { kind: 'prepare', snapshot: forThreads(snapshot), ticketSecret, upstreams: await upstreams.prepare(snapshot), inherited: mine } as const;
        const found = await threads.first<PrepareAnswer>({ ...ask, ports: keptPorts(listeners) });
        await threads.rest<PrepareAnswer>({ ...ask, ports: found });
        ports = found;
        ours = listeners;
      } catch (error) {
        await threads.all({ kind: 'discard' }).catch(() => undefined);
        upstreams.discard();
        throw error;
      }
    },
    again: (snapshot) => ({ kind: 'prepare', snapshot: forThreads(snapshot), ticketSecret, ports, upstreams: upstreams.shares() }),
    async listening() {
      const all = await threads.all<Descriptors>({ kind: 'descriptors' }, ASK_MS);
      return ours.map(({ name, address }) => ({ listener: name, address: address.text, descriptors: all.flatMap((one) => one[name] ?? []) }));
    },
    portOf: (listener) => ports[listener],
    release: () => locks.release(),
  };
}

/** Threads have no use for the bytes of CRLs: they get indexes in shared memory. The inventory comes in parts. */
function forThreads(snapshot: Snapshot): Snapshot {
  return { ...snapshot, crls: [], devices: [] };
}
