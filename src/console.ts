import type { ConsoleTarget } from './admin/calls/console.ts';
import { problemsOf } from './admin/console/problems.ts';
import { heldCertificates } from './admin/held-certificates.ts';
import { InputError } from './admin/input.ts';
import { finder } from './audit/found-in.ts';
import { openMaskingKeys } from './audit/masking-key.ts';
import { createMask, maskRules, type Mask } from './audit/masking.ts';
import type { AuditRecord } from './audit/record.ts';
import { readTail } from './audit/tail.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Live } from './live.ts';
import type { ExplainAsk, Explanation, OpenConnectionReport, WantedConnections } from './live-protocol.ts';
import { ADMIN_ROUTE } from './policy/admin-route.ts';
import type { GatewayStatus } from './status.ts';
import type { ToThread } from './thread-protocol.ts';

export interface ConsoleOptions {
  readonly snapshot: () => Snapshot;
  readonly status: () => Promise<GatewayStatus>;
  readonly threads: <Answer>(ask: Extract<ToThread, { kind: 'connections' | 'explain' }>) => Promise<readonly Answer[]>;
  readonly live: Pick<Live, 'denials'>;
  readonly auditDirectory: string;
  readonly state: string;
  /** ms since the epoch */
  readonly now: () => number;
}

const MOST_CONNECTIONS = 500;
const MOST_DENIED = 200;
const MOST_RECORDS = 200;
/** What is read of the audit for one look: in the main thread, so not much. */
const LOOK = { octets: 128 * 1024, segments: 12 };
/** What holds a text is looked for further back, a single record furthest. */
const SEARCH = { octets: 512 * 1024, segments: 12 };
const FIND = { octets: 4 << 20, segments: 24, most: 1, single: true };

/** What the console shows, from what the gateway has: each answer has a bound, whatever there is of it. */
export function createConsole({ snapshot, status, threads, live, auditDirectory, state, now }: ConsoleOptions): ConsoleTarget {
  let masked: { readonly of: Snapshot; readonly mask: Mask } | undefined;

  /** By the rules in force; the key is the one that sinks get records masked with. */
  function mask(record: AuditRecord): AuditRecord {
    const of = snapshot();
    if (masked?.of !== of) {
      const keys = openMaskingKeys(state, now);
      masked = { of, mask: createMask(maskRules(of.config), () => keys.current()) };
    }
    return masked.mask(record);
  }

  async function connectionsOf(wanted: WantedConnections): Promise<{ readonly connections: readonly OpenConnectionReport[]; readonly more: boolean }> {
    const found = (await threads<readonly OpenConnectionReport[]>({ kind: 'connections', wanted, most: MOST_CONNECTIONS + 1 })).flat();
    return { connections: found.slice(0, MOST_CONNECTIONS), more: found.length > MOST_CONNECTIONS };
  }

  return {
    async overview() {
      const found = await status();
      const problems = problemsOf({ status: found, certificates: heldCertificates(snapshot()), now: now() });
      const { pid, config, threads: count, connections, listeners, break_glass, alarms, suspensions, draining, maintenance, store } = found;
      return {
        time: new Date(now()).toISOString(), problems, pid, config, threads: count, connections, listeners, denied: found.deny_list.length, break_glass, ...(alarms === undefined ? {} : { alarms: { open: alarms.open } }),
        suspensions, draining, maintenance, ...(store === undefined ? {} : { store }), denials: live.denials(),
      };
    },
    connections: connectionsOf,
    async clients(find) {
      const { connections, more } = await connectionsOf(find === undefined ? {} : { find });
      return { clients: clientsOf(connections), more };
    },
    async revocation(wanted) {
      const { crls, ocsp, deny_list: all } = await status();
      const denied = wanted === undefined ? all : all.filter((entry) => JSON.stringify(entry).toLowerCase().includes(wanted.toLowerCase()));
      return { lists: crls.report, problems: crls.problems, sources: crls.sources, responders: ocsp.responders, ocsp_answers: ocsp.cached, denied: all.length, deny_list: denied.slice(-MOST_DENIED).reverse() };
    },
    async upstreams() {
      return { upstreams: (await status()).upstreams };
    },
    async records({ result, find }) {
      const isFound = find === undefined ? () => true : finder(find);
      const { records, chain } = await readTail({
        directory: auditDirectory, ...(find === undefined ? LOOK : SEARCH), most: MOST_RECORDS,
        mayBe: (line) => (find === undefined || line.includes(find)) && (result === undefined || line.includes(`"result":"${result}"`)),
        // Who looks must not see nothing but that somebody looks.
        wanted: (record) => (result === undefined || record.result === result) && (find !== undefined || record.route !== ADMIN_ROUTE || record.result === 'denied') && isFound(record),
      });
      return { records: records.map(mask), chain: { ...chain, failing: (await status()).audit.failing } };
    },
    async explain(requestId) {
      const { records: [record] } = await readTail({ directory: auditDirectory, ...FIND, mayBe: (line) => line.includes(requestId), wanted: (one) => one.request_id === requestId && (one.event === 'request' || one.event === 'connection') });
      if (record === undefined) throw new InputError('no such request among the newest records');
      const shown = mask(record);
      const ask = askOf(record);
      const explained = ask === undefined ? undefined : (await threads<Explanation | undefined>({ kind: 'explain', ask })).find((one) => one !== undefined);
      const certificate = record.fingerprint === undefined ? 'none' as const : explained === undefined ? 'unknown' as const : 'known' as const;
      return { record: shown, certificate, ...(explained === undefined ? {} : { now: withoutNames(explained, record, shown) }) };
    },
  };
}

/** Certificates of connected clients, the first to end first. */
function clientsOf(connections: readonly OpenConnectionReport[]): readonly object[] {
  const clients = new Map<string, { readonly connection: OpenConnectionReport; readonly addresses: Set<string>; connections: number }>();
  for (const connection of connections) {
    if (connection.fingerprint === undefined) continue;
    const known = clients.get(connection.fingerprint) ?? { connection, addresses: new Set(), connections: 0 };
    known.connections++;
    known.addresses.add(connection.address);
    clients.set(connection.fingerprint, known);
  }
  return [...clients.values()].map(({ connection: { fingerprint, subject, issuer, serial, role, id, not_after }, addresses, connections: count }) => ({
    fingerprint, subject, issuer, serial, not_after, ...(role === undefined ? {} : { role, id }), addresses: [...addresses].slice(0, 20), connections: count,
  })).sort((left, right) => String(left.not_after).localeCompare(String(right.not_after)));
}

/** What a record says was asked; undefined where it does not say on which listener. */
function askOf({ listener, address = '', fingerprint, method, host, path, query, event }: AuditRecord): ExplainAsk | undefined {
  if (listener === undefined) return undefined;
  const request = event !== 'request' || method === undefined || host === undefined || path === undefined ? {} : { request: { method, host, target: query === undefined ? path : `${path}?${query}` } };
  return { listener, address, ...(fingerprint === undefined ? {} : { fingerprint }), ...request };
}

/** What the record hides the explanation hides as well. */
function withoutNames({ steps, ...rest }: Explanation, record: AuditRecord, shown: AuditRecord): Explanation {
  const hidden = (['path', 'query', 'id', 'subject', 'patient'] as const).flatMap((field) => {
    const [plain, masked] = [record[field], shown[field]];
    return plain === undefined || masked === undefined || plain === masked || plain === '/' ? [] : [[plain, masked] as const];
  });
  return { ...rest, steps: steps.map((step) => ({ ...step, detail: hidden.reduce((detail, [plain, masked]) => detail.replaceAll(plain, masked), step.detail) })) };
}
