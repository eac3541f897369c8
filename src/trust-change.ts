import { InputError } from './admin/input.ts';
import type { AuditWriter } from './audit/writer.ts';
import { addUp } from './concern.ts';
import { ConfigurationError } from './configuration.ts';
import { loadSnapshot, type Realm, type Snapshot } from './config/snapshot.ts';
import { olderBundles } from './config/trust-files.ts';
import type { Log } from './log.ts';
import { parseCertificate } from './pki/certificate.ts';
import { formatName } from './pki/name.ts';
import type { AnchorStanding, Concerned, ListenerRealm, TrustConcern } from './thread-protocol.ts';
import type { Threads } from './threads.ts';

/** A trust anchor, as it is told to an operator. */
export interface AnchorReport {
  readonly listener: string;
  /** The server name that it is for; '' for the default. */
  readonly name: string;
  readonly subject: string;
  /** SHA-256, hex. */
  readonly fingerprint: string;
  /** ISO 8601 */
  readonly not_after: string;
  /** The entry of `trust` that it came from, as written. */
  readonly from?: string;
}

export interface StandingReport extends AnchorReport {
  /** Open connections that stand on it. */
  readonly connections: number;
  /** Certificates below it that were let in lately, as far as they are remembered. */
  readonly certificates: number;
}

/** Which anchors would come and go, and whom that would hit. */
export interface TrustPreview {
  readonly comes: readonly AnchorReport[];
  readonly goes: readonly AnchorReport[];
  readonly concerned: Concerned & Pick<TrustConcern, 'roles' | 'routes'>;
  /** What is trusted before and after, as base64 of DER, of listeners on which something goes: whoever asks can judge other certificates by it. */
  readonly listeners: readonly { readonly listener: string; readonly before: readonly TrustedBy[]; readonly after: readonly TrustedBy[]; readonly learnt: readonly string[] }[];
}

/** Under one name. */
interface TrustedBy {
  readonly name: string;
  readonly anchors: readonly string[];
  readonly intermediates: readonly string[];
}

export interface PreviewOrder {
  /** Another configuration than the gateway's own. */
  readonly config?: string;
  /** Fingerprints of anchors, or their beginnings, as if they were no longer there. */
  readonly without?: readonly string[];
}

export interface TrustDesk {
  list(): Promise<readonly StandingReport[]>;
  /** Compares what is in the files now with what is in force. Changes nothing. Rejects with an InputError when what is in the files cannot be taken. */
  preview(order: PreviewOrder): Promise<TrustPreview>;
  /** To be called before a snapshot comes in force: looks at whom it will cut off. What it resolves with puts that on record, and is to be called afterwards. */
  foresee(next: Snapshot): Promise<() => void>;
}

export interface TrustDeskOptions {
  /** Path of the configuration. */
  readonly file: string;
  /** The snapshot in force. */
  readonly snapshot: () => Snapshot;
  readonly threads: Pick<Threads, 'all'>;
  readonly audit: Pick<AuditWriter, 'append'>;
  readonly now: () => number;
  readonly log: Log;
}

const ASK_MS = 15_000;
/** A change of trust is a security act: that it is counted whom it hits must not hold it up for longer. */
const FORESEE_MS = 2_000;
/** Clients that a record names; it says how many more there are. */
const MOST_NAMED = 20;

export function createTrustDesk({ file, snapshot, threads, audit, now, log }: TrustDeskOptions): TrustDesk {
  async function list(): Promise<readonly StandingReport[]> {
    const standing = (await threads.all<readonly AnchorStanding[]>({ kind: 'trust_standing' }, ASK_MS)).flat();
    return anchorsOf(snapshot()).map((anchor) => {
      const on = standing.filter((one) => one.listener === anchor.listener && one.realm === anchor.name && one.anchor === anchor.fingerprint);
      return { ...anchor, connections: on.reduce((sum, one) => sum + one.connections, 0), certificates: new Set(on.flatMap((one) => one.certificates)).size };
    });
  }

  async function preview({ config, without = [] }: PreviewOrder): Promise<TrustPreview> {
    const before = snapshot();
    const result = await loadSnapshot(config ?? file, { now: now() });
    if (result.kind === 'invalid') throw new InputError(new ConfigurationError(result.issues).message);
    const { snapshot: read } = result;
    const older = olderBundles(before, read);
    if (older.length > 0) throw new InputError(older.join('; '));
    const unknown = without.find((one) => !anchorsOf(read).some(({ fingerprint }) => fingerprint.startsWith(one)));
    if (unknown !== undefined) throw new InputError(`no trust anchor of a listener has the fingerprint ${unknown}`);
    const after = realmsOf(read).map((realm) => keepAnchors(realm, (fingerprint) => !without.some((one) => fingerprint.startsWith(one))));
    const { comes, goes } = difference(anchorsOf(before), reports(after));
    const concerns = await threads.all<TrustConcern>({ kind: 'trust_concern', realms: after, skew: before.config.revocation.skew }, ASK_MS);
    const changed = [...new Set(goes.map(({ listener }) => listener))];
    return {
      comes, goes, concerned: together(concerns),
      listeners: changed.map((listener) => ({
        listener,
        before: realmsOf(before).filter((realm) => realm.listener === listener).map(asText),
        after: after.filter((realm) => realm.listener === listener).map(asText),
        learnt: [...new Set(concerns.flatMap(({ learnt }) => learnt[listener] ?? []).map(base64))],
      })),
    };
  }

  async function foresee(next: Snapshot): Promise<() => void> {
    const before = snapshot();
    const { comes, goes } = difference(anchorsOf(before), anchorsOf(next));
    if (comes.length + goes.length === 0) return () => undefined;
    const concerned = goes.length === 0 ? undefined : await threads.all<TrustConcern>({ kind: 'trust_concern', realms: realmsOf(next), skew: next.config.revocation.skew }, FORESEE_MS).then(together, () => undefined);
    return () => {
      const detail = [...comes.map((anchor) => `trusted from now on: ${anchorText(anchor)}`), ...goes.map((anchor) => `no longer trusted: ${anchorText(anchor)}`), ...(goes.length === 0 ? [] : [hitText(concerned)])].join('; ');
      if (goes.length === 0) log.info({ anchors: comes.length }, detail);
      else log.warn({ anchors: goes.length, connections: concerned?.connections ?? 'not counted' }, detail);
      // One that cannot be written shows in the writer's own failure.
      audit.append({ time: new Date(now()).toISOString(), event: 'configuration', result: 'done', detail }).catch(() => undefined);
    };
  }

  return { list, preview, foresee };
}

function realmsOf({ listeners }: Pick<Snapshot, 'listeners'>): readonly (Realm & ListenerRealm)[] {
  return Object.entries(listeners).flatMap(([listener, { realms }]) => realms.map((realm) => ({ ...realm, listener })));
}

function keepAnchors<Kept extends Realm & ListenerRealm>(realm: Kept, keeps: (fingerprint: string) => boolean): Kept {
  const places = realm.anchors.map((der, index) => ({ der, index })).filter(({ der }) => keeps(parseCertificate(der).sha256));
  const { from = [] } = realm;
  return { ...realm, anchors: places.map(({ der }) => der), from: places.map(({ index }) => from[index] ?? '') };
}

function anchorsOf(snapshot: Pick<Snapshot, 'listeners'>): readonly AnchorReport[] {
  return reports(realmsOf(snapshot));
}

function reports(realms: readonly (Realm & ListenerRealm)[]): readonly AnchorReport[] {
  return realms.flatMap(({ listener, name, anchors, from = [] }) => anchors.map((der, index): AnchorReport => {
    const { subject, sha256, notAfter } = parseCertificate(der);
    const entry = from[index];
    return { listener, name, subject: formatName(subject), fingerprint: sha256, not_after: new Date(notAfter).toISOString(), ...(entry === undefined ? {} : { from: entry }) };
  }));
}

/** By listener, name and certificate; the entry that one came from may change. */
function difference(before: readonly AnchorReport[], after: readonly AnchorReport[]): { readonly comes: readonly AnchorReport[]; readonly goes: readonly AnchorReport[] } {
  const key = ({ listener, name, fingerprint }: AnchorReport): string => JSON.stringify([listener, name, fingerprint]);
  const [held, next] = [new Set(before.map(key)), new Set(after.map(key))];
  return { comes: after.filter((anchor) => !held.has(key(anchor))), goes: before.filter((anchor) => !next.has(key(anchor))) };
}

function together(all: readonly TrustConcern[]): TrustPreview['concerned'] {
  return { ...addUp(all), roles: sums(all.map(({ roles }) => roles)), routes: sums(all.map(({ routes }) => routes)) };
}

function sums(all: readonly Readonly<Record<string, number>>[]): Readonly<Record<string, number>> {
  const found = new Map<string, number>();
  for (const [name, count] of all.flatMap(Object.entries<number>)) found.set(name, (found.get(name) ?? 0) + count);
  return Object.fromEntries(found);
}

function asText({ name, anchors, intermediates }: ListenerRealm): TrustedBy {
  return { name, anchors: anchors.map(base64), intermediates: intermediates.map(base64) };
}

function base64(der: Uint8Array): string {
  return Buffer.from(der).toString('base64');
}

function anchorText({ listener, name, subject, fingerprint }: AnchorReport): string {
  return `${subject} (${fingerprint.slice(0, 16)}) on ${listener}${name === '' ? '' : ` for ${name}`}`;
}

function hitText(concerned: TrustPreview['concerned'] | undefined): string {
  if (concerned === undefined) return 'how many connections it ends was not counted in time';
  const { connections, under_way: underWay, clients } = concerned;
  const named = clients.slice(0, MOST_NAMED).map(({ role, id, address }) => (role === undefined ? `without a role, ${address}` : `${role} ${id}`));
  return connections === 0 ? 'no open connection stood on it' : `ends ${connections} open connection${connections === 1 ? '' : 's'} with ${underWay} requests and streams under way: ${named.join(', ')}${clients.length > named.length ? ` and ${clients.length - named.length} more` : ''}`;
}
