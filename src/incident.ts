import type { Origin } from './admin/call.ts';
import type { IncidentTarget, DrainReport } from './admin/calls/incident.ts';
import { LOCKED_OUT } from './admin/own-certificate.ts';
import { addUp } from './concern.ts';
import type { Snapshot } from './config/snapshot.ts';
import { addForeseen } from './foresight.ts';
import { inNetworks, parseNetwork } from './policy/networks.ts';
import { UnknownScopeError, type Suspensions } from './suspensions.ts';
import type { Concerned, Foreseen, ForeseenOperator, Hit, ToThread } from './thread-protocol.ts';
import type { Threads } from './threads.ts';

export interface IncidentOptions {
  readonly snapshot: () => Snapshot;
  readonly threads: Pick<Threads, 'all'>;
  readonly suspensions: Suspensions;
  /** ms since the epoch */
  readonly now: () => number;
}

/** What people on call do to a gateway under attack, or that has to go: isolate, drain, and see beforehand whom it hits. */
export interface Incident extends IncidentTarget {
  /** What threads must know before they serve. */
  news(): ToThread;
  /** Whether nothing but the admin listener takes anything new. */
  drained(): boolean;
  /** What was told to take nothing new, by whom and since when. */
  draining(): DrainReport['draining'];
}

const ASK_MS = 5_000;
/** What is to be cut off waits no longer for the look whom it hits. */
const GLANCE_MS = 1_000;

export function createIncident({ snapshot, threads, suspensions, now }: IncidentOptions): Incident {
  /** By listener; '' is all of them but the admin's. */
  const drains = new Map<string, { readonly who: string; readonly since: string }>();

  function meant(wanted: Iterable<string>): readonly string[] {
    const { listeners, admin } = snapshot().config;
    const asked = new Set(wanted);
    return listeners.map(({ name }) => name).filter((name) => asked.has(name) || (asked.has('') && name !== admin.listener));
  }

  function held(): readonly string[] {
    return meant(drains.keys());
  }

  async function openOn(listeners: readonly string[]): Promise<Omit<DrainReport, 'draining'>> {
    const found = await Promise.all(listeners.map((listener) => threads.all<Concerned>({ kind: 'concerned', scope: { listener }, allow: [] }, ASK_MS)));
    const { connections, under_way } = addUp(found.flat());
    return { listeners, connections, under_way };
  }

  function news(): ToThread {
    return { kind: 'hold', listeners: held() };
  }

  async function tell(): Promise<void> {
    const faults = (await threads.all<readonly string[]>(news(), 2 * ASK_MS)).flat();
    if (faults.length > 0) throw new Error(`not every listener could be opened again: ${[...new Set(faults)].join('; ')}`);
  }

  function known(listener: string | undefined): string {
    const names = snapshot().config.listeners.map(({ name }) => name);
    if (listener !== undefined && !names.includes(listener)) throw new UnknownScopeError(`no listener named ${JSON.stringify(listener)}; known: ${names.join(', ')}`);
    return listener ?? '';
  }

  function draining(): DrainReport['draining'] {
    return [...drains].map(([listener, one]) => ({ ...(listener === '' ? {} : { listener }), ...one }));
  }

  async function report(): Promise<DrainReport> {
    return { draining: draining(), ...await openOn(held()) };
  }

  return {
    news,
    drained: () => drains.has(''),
    draining,
    async foresee(hit, origin) {
      const { listeners, routes } = snapshot().config;
      const { operators, ...found } = addForeseen(await threads.all<Foreseen>({ kind: 'foresee', hit }, ASK_MS));
      const allowed = routes.map(({ name, allow }) => ({ route: name, allow })).filter(({ allow }) => hit.kind === 'network' || Object.keys(found.roles).some((role) => allow.includes(role)));
      return { ...found, allowed, warnings: [...operatorWarnings(operators, origin), ...warningsOf(hit, found, listeners)] };
    },
    async operatorsHit(hit, origin) {
      const found = await threads.all<Foreseen>({ kind: 'foresee', hit }, GLANCE_MS).catch(() => []);
      const { operators } = addForeseen(found);
      return { own: origin !== undefined && isOwn(operators, origin), warnings: operatorWarnings(operators, origin) };
    },
    isolate: ({ network, device, ...order }) => suspensions.suspend({ ...order, isolate: true, ...(network === undefined ? {} : { network }), ...(device === undefined ? {} : { device }) }),
    lift: (scope, who) => suspensions.resume({ ...scope, isolate: true }, who),
    async drain(listener, who) {
      const name = known(listener);
      if (!drains.has(name)) drains.set(name, { who, since: new Date(now()).toISOString() });
      await tell();
      return report();
    },
    async undrain(listener) {
      const undone = listener === undefined ? drains.size > 0 : drains.has(known(listener));
      const before = [...drains];
      if (listener === undefined) drains.clear();
      else drains.delete(listener);
      try {
        await tell();
      } catch (error) {
        // Where not all of it listens, /readyz must not call anybody here.
        for (const [name, drain] of before) drains.set(name, drain);
        await tell().catch(() => undefined);
        throw error;
      }
      return undone;
    },
    drains: report,
    foreseeDrain: (listener) => openOn(meant([known(listener)])),
  };
}

/** By its certificate, and where an address is cut off by the one from which it asks. */
function isOwn(operators: readonly ForeseenOperator[], { certificate, address }: Origin): boolean {
  return operators.some((one) => one.certificate === certificate && (one.address ?? address) === address);
}

/** Who can be locked out of the admin listener by it, whoever asks first. */
function operatorWarnings(operators: readonly ForeseenOperator[], origin: Origin | undefined): readonly string[] {
  const own = origin !== undefined && isOwn(operators, origin);
  const others = [...new Set(operators.filter(({ certificate }) => !own || certificate !== origin.certificate).map(({ id }) => id))];
  return [...(own ? [LOCKED_OUT] : []), ...(others.length === 0 ? [] : [`operators are among them, who would lose the admin listener: ${others.join(', ')}`])];
}

/** What somebody should know before he does it. */
function warningsOf(hit: Hit, { connections, of, clients }: Pick<Foreseen, 'connections' | 'of' | 'clients'>, listeners: Snapshot['config']['listeners']): readonly string[] {
  const everybody = of > 1 && connections === of ? [`all ${of} open connections would end`] : [];
  if (hit.kind !== 'network') return everybody;
  const network = parseNetwork(hit.network);
  const fronts = listeners.flatMap((listener) => ('proxy_protocol' in listener && listener.proxy_protocol !== undefined ? listener.proxy_protocol.from.map((from) => ({ listener: listener.name, from })) : []));
  return [
    ...everybody,
    ...(network.prefix === 0 ? ['the network holds every address of its kind'] : []),
    ...fronts.filter(({ from }) => inNetworks(from.split('/')[0] ?? '', [network]) || inNetworks(hit.network.split('/')[0] ?? '', [parseNetwork(from)]))
      .map(({ listener, from }) => `balancers of listener ${listener} come from ${from}: who comes through them is known by the address that they tell, and they themselves are spared`),
    ...[...Map.groupBy(clients, ({ address }) => address)].filter(([, ones]) => ones.length > 1).map(([address, ones]) => `${ones.length} clients come from ${address}: it may be a balancer, or an office behind one address`),
  ];
}
