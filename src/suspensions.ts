import type { AuditRecord } from './audit/record.ts';
import type { AuditWriter } from './audit/writer.ts';
import type { Config } from './config/schema.ts';
import type { Log } from './log.ts';
import { describeScope, endOf, type SuspensionOrder, type SuspensionScope } from './policy/suspensions.ts';
import { refuseEarlierEnd } from './store/earlier-end.ts';
import { applied } from './store/journal.ts';
import { scopeText, type SuspensionChange, type SuspensionEntry, type SuspensionList } from './store/suspensions.ts';

/** A suspension before it has its time. */
export type NewSuspension = SuspensionOrder & { readonly who: string };

/** A route's own maintenance that is in force. */
export interface MaintenanceReport {
  readonly route: string;
  readonly reason: string;
  /** ISO 8601. */
  readonly until: string;
}

/** What is suspended, by order and by schedule, each on record from start to stop. */
export interface Suspensions {
  /** In force on every thread, durable, and what it ends ended, when it resolves. Rejects when it names what is not configured. */
  suspend(order: NewSuspension): Promise<void>;
  /** False when nothing of this scope is suspended. */
  resume(scope: SuspensionScope, who: string): Promise<boolean>;
  /** Takes a change that another gateway made. */
  receive(change: SuspensionChange): void;
  /** What is in force, pauses included. */
  entries(): readonly SuspensionEntry[];
  maintenance(): readonly MaintenanceReport[];
  /** Looks what has begun and what has ended by itself. To be called about once a second. */
  look(): void;
}

export interface SuspensionsOptions {
  readonly list: SuspensionList;
  readonly config: () => Config;
  /** Whether the inventory has a device; undefined where there is none. */
  readonly registered: (device: string) => boolean | undefined;
  /** Routes that are paused at the moment because something ends. */
  readonly pauses: () => readonly SuspensionOrder[];
  readonly audit: AuditWriter;
  /** Tells every thread what is suspended by order, and has it judge again what is under way. */
  readonly publish: (entries: readonly SuspensionEntry[]) => Promise<void>;
  /** Tells the other replicas. */
  readonly announce: (change: SuspensionChange) => Promise<void>;
  readonly now: () => number;
  readonly log: Log;
}

/** An order names what the gateway does not know. */
export class UnknownScopeError extends Error {
  readonly code = 'scope_unknown';
}

export function createSuspensions({ list, config, registered, pauses, audit, publish, announce, now, log }: SuspensionsOptions): Suspensions {
  /** By scope, what was in force when last looked at: what is missing next time has expired. */
  let inForce = known();
  /** By route and place, the maintenance that lasted when last looked at. */
  let lasting = new Map<string, MaintenanceReport>();
  /** By scope, what pauses. */
  let paused = new Map<string, SuspensionEntry>();

  function unregistered({ device }: SuspensionOrder): string | undefined {
    return device === undefined || registered(device) !== false ? undefined : `the inventory has no device named ${JSON.stringify(device)}; what is in no inventory is isolated by its id`;
  }

  function known(): Map<string, SuspensionEntry> {
    return new Map(list.entries(now()).map((entry) => [scopeText(entry), entry]));
  }

  async function make(change: SuspensionChange): Promise<void> {
    const unkept = applied(list, change);
    try {
      await takeEffect(change);
    } catch (error) {
      if (change.op === 'suspend') await announce(change);
      throw unkept ?? error;
    }
    await announce(change);
    if (unkept !== undefined) throw unkept;
  }

  async function takeEffect(change: SuspensionChange): Promise<void> {
    inForce = known();
    const { op: _, ...rest } = change;
    const detail = 'reason' in rest ? `${rest.isolate === true ? 'isolated' : 'suspended'}: ${rest.reason}` : rest.isolate === true ? 'lifted' : 'resumed';
    await Promise.all([publishAll(), record({ who: rest.who, ...scopeFields(rest), ...('expires' in rest && rest.expires !== undefined ? { until: rest.expires } : {}), detail })]);
  }

  function publishAll(): Promise<void> {
    return publish([...inForce.values(), ...paused.values()]);
  }

  function record(fields: Partial<AuditRecord>): Promise<void> {
    return audit.append({ time: new Date(now()).toISOString(), event: 'suspension', result: 'done', ...fields });
  }

  function recordLater(fields: Partial<AuditRecord>): void {
    record(fields).catch((error: Error) => log.error({ error: error.message }, 'a suspension could not be recorded'));
  }

  function lookAtOrders(): boolean {
    list.settle();
    const current = known();
    const ended = [...inForce].filter(([scope]) => !current.has(scope));
    // Its end was over by a clock that was ahead, and set back since.
    const begun = [...current].filter(([scope]) => !inForce.has(scope));
    inForce = current;
    for (const [, entry] of begun) recordLater({ ...scopeFields(entry), detail: 'in force again: the clock was set back' });
    for (const [, entry] of ended) {
      log.info({ scope: describeScope(entry) }, entry.isolate === true ? 'an isolation expired' : 'a suspension expired');
      recordLater({ ...scopeFields(entry), detail: 'expired' });
    }
    return ended.length + begun.length > 0;
  }

  /** Maintenance begins and ends by the clock on every thread alike; what is under way when it begins must be judged again. */
  function lookAtSchedules(): boolean {
    const before = lasting;
    lasting = new Map(maintenanceAt(config(), now()).map(([place, report]) => [place, report]));
    const begun = [...lasting].filter(([place]) => !before.has(place));
    for (const [, { route, reason, until }] of begun) recordLater({ route, until, detail: `maintenance: ${reason}` });
    for (const [place, { route, reason }] of before) if (!lasting.has(place)) recordLater({ route, detail: `maintenance over: ${reason}` });
    return begun.length > 0;
  }

  /** Nobody orders them: they begin and end with what ends. */
  function lookAtPauses(): boolean {
    const before = paused;
    paused = new Map(pauses().map((order): readonly [string, SuspensionEntry] => {
      const scope = scopeText(order);
      return [scope, before.get(scope) ?? { ...order, who: 'expiry', at: new Date(now()).toISOString() }];
    }));
    const begun = [...paused].filter(([scope]) => !before.has(scope));
    const ended = [...before].filter(([scope]) => !paused.has(scope));
    for (const [, entry] of begun) {
      log.warn({ scope: describeScope(entry), reason: entry.reason }, 'a route is paused');
      recordLater({ ...scopeFields(entry), who: entry.who, detail: `paused: ${entry.reason}` });
    }
    for (const [, entry] of ended) {
      log.info({ scope: describeScope(entry) }, 'a route is paused no more');
      recordLater({ ...scopeFields(entry), who: entry.who, detail: 'resumed: what it was paused for is replaced' });
    }
    return begun.length + ended.length > 0;
  }

  return {
    async suspend(order) {
      const unknown = unknownIn(order, config()) ?? unregistered(order);
      if (unknown !== undefined) throw new UnknownScopeError(unknown);
      if (order.isolate === true) refuseEarlierEnd('it is isolated', known().get(scopeText(order)), order.expires, now());
      await make({ op: 'suspend', ...order, at: list.timeOf(order, now()) });
    },
    async resume(scope, who) {
      if (!known().has(scopeText(scope))) return false;
      await make({ op: 'resume', ...scope, who, at: list.timeOf(scope, now()) });
      return true;
    },
    receive(change) {
      try {
        applied(list, change);
      } catch (error) {
        return log.error({ error: (error as Error).message, scope: describeScope(change) }, 'a suspension from another gateway could not be taken');
      }
      takeEffect(change).catch((error: Error) => log.error({ error: error.message }, 'a suspension from another gateway could not be put on record'));
    },
    entries: () => [...list.entries(now()), ...paused.values()],
    maintenance: () => maintenanceAt(config(), now()).map(([, report]) => report),
    look() {
      const changed = [lookAtOrders(), lookAtSchedules(), lookAtPauses()];
      if (changed.includes(true)) void publishAll();
    },
  };
}

function maintenanceAt({ routes }: Config, at: number): readonly (readonly [place: string, report: MaintenanceReport])[] {
  return routes.flatMap((route) => (route.suspended ?? []).flatMap(({ when, reason }, index) => {
    const until = endOf(when, at);
    return until === undefined ? [] : [[`${route.name} ${index} ${reason}`, { route: route.name, reason, until: new Date(until).toISOString() }] as const];
  }));
}

/** What of a scope is not configured, and so suspends nothing; undefined when all of it is. */
export function unknownIn({ route, listener, role, outside }: SuspensionScope, config: Config): string | undefined {
  const missing = (what: string, name: string | undefined, known: readonly string[]): string | undefined =>
    (name === undefined || known.includes(name) ? undefined : `no ${what} named ${JSON.stringify(name)}; known: ${known.join(', ') || 'none'}`);
  const blind = outside === true && config.networks.inside === undefined;
  return missing('route', route, config.routes.map(({ name }) => name))
    // One that only redirects serves nobody anything.
    ?? missing('listener', listener, config.listeners.filter(({ protocol }) => protocol !== 'redirect').map(({ name }) => name))
    ?? missing('role', role, [...new Set([...config.roles.flatMap((one) => [one.role, ...one.also.map((also) => also.role)]), ...Object.values(config.inherits).flat()])])
    ?? (blind ? 'networks.inside is not configured: everybody would be outside' : undefined);
}

function scopeFields({ route, listener, role, network, outside, device }: SuspensionScope): Partial<AuditRecord> {
  return {
    ...(device === undefined ? {} : { device }),
    ...(route === undefined ? {} : { route }), ...(listener === undefined ? {} : { listener }), ...(role === undefined ? {} : { role }),
    ...(network === undefined ? {} : { network }), ...(outside === undefined ? {} : { outside }),
  };
}
