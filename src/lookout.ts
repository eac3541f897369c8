import { isIP } from 'node:net';
import type { ThreadMetrics } from './admin/metrics.ts';
import { certificateFields } from './audit/record.ts';
import type { OpenListener } from './bound-listener.ts';
import { describeAdmission } from './describe-admission.ts';
import type { Snapshot } from './config/snapshot.ts';
import { compileRoles } from './identity/roles.ts';
import type { ConnectionCount, ExplainAsk, Explanation, OpenConnectionReport, ThreadPulse, WantedConnections } from './live-protocol.ts';
import { ADMIN_ROUTE, operatorsConfig } from './policy/admin-route.ts';
import { authorize } from './policy/authorize.ts';
import type { Step } from './policy/decision.ts';
import { COUNTED, type Admission, type RequestFacts } from './policy/facts.ts';
import { parseHost } from './policy/host.ts';
import { parseTarget } from './policy/target.ts';
import type { HttpsRuntime } from './protocol.ts';
import type { Connection } from './tls/connection.ts';

export interface LookoutOptions {
  /** Every listener that still has connections. */
  readonly serving: () => readonly OpenListener[];
  readonly metrics: ThreadMetrics;
  readonly snapshot: () => Snapshot | undefined;
  /** ms since the epoch */
  readonly now: () => number;
}

/** Who looks is not what is looked at: their streams last an hour. */
const LOOKING: ReadonlySet<string> = new Set([ADMIN_ROUTE]);

/** What a thread tells those who look on. Nothing of it is kept for them: they ask, now and then. */
export interface Lookout {
  pulse(): ThreadPulse;
  /** Open connections, no more than `most`: of one certificate (SHA-256), of those whose id, subject or address holds a text, or of all. */
  connections(wanted: WantedConnections, most: number): readonly OpenConnectionReport[];
  /** Decides again what was asked, with this thread's own admission office and policy; undefined where it has no such listener, or does not know the certificate. */
  explain(ask: ExplainAsk): Promise<Explanation | undefined>;
}

export function createLookout({ serving, metrics, snapshot, now }: LookoutOptions): Lookout {
  function counted(): readonly ConnectionCount[] {
    const counts = new Map<string, ConnectionCount>();
    for (const listener of serving()) {
      for (const connection of listener.connections.values()) {
        const named = { listener: listener.name, protocol: listener.protocol.label(connection), role: heldBy(connection)?.identity?.role ?? 'none' };
        const key = JSON.stringify(named);
        counts.set(key, { ...named, connections: (counts.get(key)?.connections ?? 0) + 1 });
      }
    }
    return [...counts.values()];
  }

  async function explain({ listener: name, address, fingerprint, request }: ExplainAsk): Promise<Explanation | undefined> {
    const listener = serving().find((one) => one.name === name);
    const current = snapshot();
    if (listener === undefined || current === undefined) return undefined;
    const { office, config } = listener.runtime;
    const leaf = fingerprint === undefined ? undefined : office.certificate(fingerprint);
    if (fingerprint !== undefined && leaf === undefined) return undefined;
    const steps: Step[] = [];
    const admission: Admission = leaf === undefined ? { kind: 'anonymous' } : await office.admit({ leaf, fault: undefined, intermediates: () => [] }, request === undefined ? '' : hostName(request.host));
    if (leaf === undefined) steps.push({ rule: 'leaf', outcome: 'skip', detail: 'the client shows no certificate' });
    describeAdmission(admission, compileRoles(config.name === current.config.admin.listener ? operatorsConfig(current.config) : current.config, current.authorities), steps);
    if (!('service' in listener.runtime) || request === undefined) {
      return admission.kind === 'refused' ? { result: 'denied', reason: admission.reason, steps } : { result: 'admitted', steps };
    }
    return decideAgain(listener.runtime, admission, { address, request, steps, now: now() });
  }

  return {
    pulse: () => ({ connections: counted(), ...metrics.requests.sums(LOOKING) }),
    connections({ fingerprint, find }, most) {
      const text = find?.toLowerCase();
      const found: OpenConnectionReport[] = [];
      for (const listener of serving()) {
        for (const connection of listener.connections.values()) {
          if (found.length >= most) return found;
          const held = heldBy(connection);
          if (fingerprint !== undefined && held?.leaf.sha256 !== fingerprint) continue;
          if (text === undefined || holds(connection, held, text)) found.push(reportOf(listener, connection));
        }
      }
      return found;
    },
    explain,
  };
}

interface Again {
  readonly address: string;
  readonly request: NonNullable<ExplainAsk['request']>;
  readonly steps: Step[];
  readonly now: number;
}

/** As at the request's time, but for what is counted and what is shown in its header: neither is on record. */
async function decideAgain({ service, config, contexts }: HttpsRuntime, admission: Admission, { address, request, steps, now }: Again): Promise<Explanation> {
  const host = parseHost(request.host);
  const facts: RequestFacts = {
    method: request.method, target: parseTarget(request.target), host, directed: host.kind === 'host' && (contexts.knows(host.name) || isIP(host.name) !== 0), clientAuth: config.client_auth.mode,
    admission, address, preflight: undefined, listener: config.name, suspensions: service.suspensions(), withdrawn: service.withdrawn(),
  };
  const first = authorize(service.policy, facts, now);
  const token = first.kind === 'query' && first.token !== undefined ? { token: await service.tokens.find(first.token, []) } : {};
  const decision = authorize(service.policy, { ...facts, ...token, findings: COUNTED }, now, (step) => steps.push(step));
  return decision.kind === 'permit' ? { result: 'permitted', steps } : { result: 'denied', reason: decision.reason, steps };
}

function hostName(text: string): string {
  const host = parseHost(text);
  return host.kind === 'host' ? host.name : '';
}

function heldBy({ admissions }: Connection): Extract<Admission, { kind: 'known' }> | undefined {
  for (const held of admissions.values()) if (held.kind === 'known') return held;
  return undefined;
}

/** In the order of what it costs. */
function holds({ address }: Connection, held: ReturnType<typeof heldBy>, text: string): boolean {
  if (address.includes(text) || held?.identity?.id.toLowerCase().includes(text) === true) return true;
  return held !== undefined && (held.leaf.serial.includes(text) || (certificateFields(held.leaf).subject ?? '').toLowerCase().includes(text));
}

function reportOf(listener: OpenListener, connection: Connection): OpenConnectionReport {
  const held = heldBy(connection);
  return {
    listener: listener.name, protocol: listener.protocol.label(connection), address: connection.address, tls: connection.tls,
    ...(held === undefined ? {} : certificateFields(held.leaf)),
    ...(held?.identity === undefined ? {} : { role: held.identity.role, id: held.identity.id }),
    under_way: connection.underWay.size + (connection.stream === undefined ? 0 : 1),
  };
}
