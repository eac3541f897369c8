import type { Snapshot } from './config/snapshot.ts';
import type { UpstreamWatch } from './forward/upstream/watch.ts';
import { createPortLocks } from './store/port-lock.ts';
import type { PrepareAnswer, ToThread } from './thread-protocol.ts';
import type { Threads } from './threads.ts';
import { assertFreePort } from './tls/free-port.ts';
import { randomTicketSecret } from './tls/tickets.ts';

/** Prepares configurations on the threads, and knows what those listen on. */
export interface Preparation {
  /** Prepares a snapshot on every thread, the first one finding free ports; all or none. */
  prepare(snapshot: Snapshot): Promise<void>;
  /** What a thread that replaces another has to prepare. */
  again(snapshot: Snapshot): ToThread;
  /** The port that a listener is bound to. */
  portOf(listener: string): number | undefined;
  release(): void;
}

type Listeners = Snapshot['config']['listeners'];

export function createPreparation(threads: Threads, upstreams: UpstreamWatch): Preparation {
  const locks = createPortLocks();
  const ticketSecret = randomTicketSecret(Date.now());
  let ports: Readonly<Record<string, number>> = {};
  let ours: Listeners = [];

  /** An address that is ours already may go to another name; any other must be nobody's. */
  async function claim(listeners: Listeners): Promise<void> {
    for (const { address } of listeners) {
      if (address.port === 0 || ours.some((listener) => listener.address.text === address.text)) continue;
      await locks.take(address.host, address.port);
      await assertFreePort(address.host, address.port);
    }
  }

  function keptPorts(listeners: Listeners): Readonly<Record<string, number>> {
    const kept = listeners.filter(({ name, address }) => ours.some((listener) => listener.name === name && listener.address.text === address.text));
    return Object.fromEntries(kept.flatMap(({ name }) => (ports[name] === undefined ? [] : [[name, ports[name]]])));
  }

  return {
    async prepare(snapshot) {
      const { listeners } = snapshot.config;
      await claim(listeners);
      try {
        const ask = { kind: 'prepare', snapshot: forThreads(snapshot), ticketSecret, upstreams: await upstreams.prepare(snapshot) } as const;
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
    portOf: (listener) => ports[listener],
    release: () => locks.release(),
  };
}

/** Threads have no use for the bytes of CRLs: they get indexes in shared memory. The inventory comes in parts. */
function forThreads(snapshot: Snapshot): Snapshot {
  return { ...snapshot, crls: [], devices: [] };
}
