import { join } from 'node:path';
import type { AuditWriter } from './audit/writer.ts';
import type { TlsListenerConfig } from './config/schema.ts';
import type { ListenerMaterial, ServerCertificate, Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';
import { parseCertificate, type Certificate } from './pki/certificate.ts';
import { pemBlocks } from './pki/pem.ts';
import { issuerIn, mustStaple, standingOf, type CertificateState, type Standing } from './pki/standing.ts';
import { endsTls } from './protocol.ts';
import type { CrlHandle } from './revocation/crl-handle.ts';
import { crlStatement } from './revocation/crl-statement.ts';
import { openKept } from './revocation/kept.ts';
import { createStaples, type Staple, type StapleReport, type StapleWanted } from './revocation/staples.ts';
import type { DenyTable } from './store/deny-table.ts';
import { deniedCertificate } from './tls/denied.ts';
import { certificatesFor } from './tls/choice.ts';

/** How a certificate of a listener stands. */
export interface ServerCertificateReport {
  readonly listener: string;
  /** The file, as written. */
  readonly certificate: string;
  readonly names: readonly string[];
  readonly key_type: ServerCertificate['keyType'];
  readonly not_after: string;
  readonly state: CertificateState;
  readonly detail?: string;
  /** Whether some clients are shown it; others stand by. */
  readonly serving: boolean;
  /** Absent where it names no responder, and none is configured. */
  readonly ocsp?: StapleReport;
}

/** The main thread's watch over the gateway's own server certificates: which of them may be shown, and with which OCSP answers. */
export interface ServerCertificates {
  /** Prepares for a snapshot that is about to be put in force: what is known of its certificates, and what a client would refuse them without. */
  load(snapshot: Snapshot): Promise<void>;
  /** The same snapshot, in which each certificate has its standing by now. The very same when nothing is new. */
  arrange(snapshot: Snapshot): Snapshot;
  /** The OCSP answers that may be shown now. */
  staples(): readonly Staple[];
  report(): readonly ServerCertificateReport[];
  /** Begins to watch. */
  start(): void;
  close(): Promise<void>;
}

export interface ServerCertificatesOptions {
  /** The snapshot in force. */
  readonly snapshot: () => Snapshot;
  /** The state directory. */
  readonly state: string;
  readonly deny: DenyTable;
  readonly crls: () => readonly CrlHandle[];
  /** Puts the same configuration with other standings in force on every thread, and nothing else. */
  readonly swap: (next: Snapshot) => Promise<void>;
  /** Gives the answers to every thread. */
  readonly publish: (staples: readonly Staple[]) => Promise<void>;
  /** One change of what is in force at a time. */
  readonly serially: <Result>(change: () => Promise<Result>) => Promise<Result>;
  readonly audit: AuditWriter;
  readonly alarm: (about: object) => void;
  /** A responder gave nothing usable. */
  readonly failed: (url: string, detail: string) => void;
  readonly now: () => number;
  readonly log: Log;
}

/** How often standings are looked at: what expires or is revoked gives way within two of these, and the time of a swap. */
const LOOK_MS = 500;
/** How long before its end a certificate gives way: by then another must be in place on every thread, or clients would be refused. */
const AHEAD_MS = 2_000;
const MOST_KEPT = 256;
const LARGEST_ANSWER = 64 * 1024;

interface Entry {
  readonly listener: TlsListenerConfig;
  readonly certificate: ServerCertificate;
  readonly chain: readonly [Certificate, ...Certificate[]];
  readonly roots: readonly Certificate[];
}

export function watchServerCertificates({ snapshot, state, deny, crls, swap, publish, serially, audit, alarm, failed, now, log }: ServerCertificatesOptions): ServerCertificates {
  const staples = createStaples({
    kept: openKept({ directory: join(state, 'staples'), maxFiles: MOST_KEPT, maxOctets: LARGEST_ANSWER, failed: (error) => log.warn({ error: error.message }, 'an OCSP answer for a server certificate cannot be kept for the next start') }),
    now, delegateStatus, changed: () => void tell(),
    failed(responder, detail) {
      failed(responder, detail);
      log.warn({ responder, detail }, 'no OCSP answer for a server certificate');
    },
  });
  /** What was last said of each. */
  const said = new Map<string, CertificateState>();
  let watched: Snapshot | undefined;
  /** About to come in force: its answers are not forgotten meanwhile. */
  let coming: Snapshot | undefined;
  let timer: NodeJS.Timeout | undefined;
  let swapping = false;
  let fault: string | undefined;

  function delegateStatus(delegate: Certificate, issuer: Certificate): 'good' | 'revoked' | 'unknown' {
    if (deniedCertificate(deny, [delegate]) !== undefined) return 'revoked';
    const { kind } = crlStatement(crls(), delegate, issuer, now(), { skew: snapshot().config.revocation.skew });
    return kind === 'unavailable' ? 'unknown' : kind;
  }

  function tell(): Promise<void> {
    return publish(staples.all()).catch((error: Error) => log.error({ error: error.message }, 'OCSP answers could not be given to every thread'));
  }

  async function load(next: Snapshot): Promise<void> {
    coming = next;
    await staples.want([...wantedOf(snapshot()), ...wantedOf(next)], next.config.revocation, mustStaple);
    await tell();
  }

  function standing({ chain, roots }: Entry, { skew }: Snapshot['config']['revocation']): Standing {
    const at = now();
    const shown = staples.all().some(({ certificate }) => certificate === chain[0].sha256);
    return standingOf(chain, { now: at, skew, ahead: AHEAD_MS, roots, stapled: shown, revoked: (certificate, issuer) => revocationOf(certificate, issuer, at, skew) });
  }

  function revocationOf(certificate: Certificate, issuer: Certificate | undefined, at: number, skew: number): string | undefined {
    if (deniedCertificate(deny, [certificate]) !== undefined) return 'it is on the deny list';
    const statement = issuer === undefined ? undefined : crlStatement(crls(), certificate, issuer, at, { skew });
    return statement?.kind === 'revoked' ? statement.detail : staples.revoked(certificate);
  }

  function arrange(given: Snapshot): Snapshot {
    let changed = false;
    const stood = new Map(entriesOf(given).map((entry) => [entry.certificate, standing(entry, given.config.revocation).state]));
    const listeners = Object.entries(given.listeners).map(([name, material]) => [name, {
      ...material,
      certificates: material.certificates.map((certificate) => {
        const { standing: before, ...rest } = certificate;
        const after = stood.get(certificate) ?? 'usable';
        if ((before ?? 'usable') === after) return certificate;
        changed = true;
        return after === 'usable' ? rest : { ...rest, standing: after };
      }),
    }] as const);
    return changed ? { ...given, listeners: Object.fromEntries(listeners) } : given;
  }

  function look(): void {
    try {
      const current = snapshot();
      if (watched !== current) {
        watched = current;
        if (coming?.digest === current.digest) coming = undefined;
        void staples.want([...wantedOf(current), ...coming === undefined ? [] : wantedOf(coming)], current.config.revocation, () => false).then(tell).catch((error: Error) => log.error({ error: error.message }, 'OCSP answers that were kept could not be read'));
      }
      staples.look();
      const next = arrange(current);
      note(next);
      if (next !== current && !swapping) void exchange();
      fault = undefined;
    } catch (error) {
      if (fault !== (error as Error).message) log.error({ error: (error as Error).message }, 'how server certificates stand could not be looked at');
      fault = (error as Error).message;
    }
  }

  async function exchange(): Promise<void> {
    swapping = true;
    try {
      await serially(async () => {
        const next = arrange(snapshot());
        if (next !== snapshot()) await swap(next);
      });
    } catch (error) {
      // Tried again with the next look.
      log.error({ error: (error as Error).message }, 'another server certificate could not be put in force');
    } finally {
      swapping = false;
    }
  }

  /** Puts on record what has changed since it was last said. */
  function note(next: Snapshot): void {
    const present = new Set<string>();
    for (const entry of entriesOf(next)) {
      const { listener, certificate: { file, sha256 } } = entry;
      const key = `${listener.name} ${file} ${sha256}`;
      present.add(key);
      const { state: after, detail } = standing(entry, next.config.revocation);
      const before = said.get(key) ?? 'usable';
      said.set(key, after);
      if (before === after) continue;
      const serving = servingOf(next, listener.name);
      const serves = serving.some((other) => other.file === file);
      const others = insteadOf(entry.certificate, serving);
      const place = serves ? 'it serves, for want of a better one' : `it stands by${others.length === 0 ? '' : `, and ${others.join(' and ')} serves`}`;
      const text = after === 'usable' ? `${file} is usable again${serves ? ', and serves' : ''}` : `${file} is not usable (${after}): ${detail}; ${place}`;
      audit.append({ time: new Date(now()).toISOString(), event: 'configuration', result: after === 'usable' ? 'done' : 'failed', listener: listener.name, detail: `server certificate ${text}`, ...(after === 'usable' ? {} : { alarm: 'server_certificate' as const }) }).catch(() => undefined);
      if (after === 'usable') log.info({ listener: listener.name, certificate: file }, `server certificate ${text}`);
      else log.error({ listener: listener.name, certificate: file, state: after }, `server certificate ${text}`);
      if (after !== 'usable') alarm({ listener: listener.name, certificate: file, state: after, detail });
    }
    for (const key of said.keys()) if (!present.has(key)) said.delete(key);
  }

  return {
    load,
    arrange,
    staples: staples.all,
    report() {
      const current = snapshot();
      return entriesOf(current).map((entry) => {
        const { listener, certificate, chain } = entry;
        const { state: now, detail } = standing(entry, current.config.revocation);
        return {
          listener: listener.name, certificate: certificate.file, names: certificate.names, key_type: certificate.keyType, not_after: new Date(certificate.notAfter).toISOString(), state: now,
          ...(detail === '' ? {} : { detail }), serving: servingOf(current, listener.name).includes(certificate), ...(wantedFor(entry).length === 0 ? {} : { ocsp: staples.report(chain[0]) }),
        };
      });
    },
    start() {
      timer = setInterval(look, LOOK_MS);
      timer.unref();
      look();
    },
    async close() {
      clearInterval(timer);
      await staples.close();
    },
  };
}

const parsed = new WeakMap<ServerCertificate, Entry['chain']>();

function chainOf(certificate: ServerCertificate): Entry['chain'] {
  const known = parsed.get(certificate);
  if (known !== undefined) return known;
  const [leaf, ...rest] = pemBlocks(certificate.certificate, 'CERTIFICATE').map(({ der }) => parseCertificate(der));
  if (leaf === undefined) throw new Error(`${certificate.file}: holds no certificate`);
  const chain = [leaf, ...rest] as const;
  parsed.set(certificate, chain);
  return chain;
}

const rootsOf = new WeakMap<readonly Uint8Array[], readonly Certificate[]>();

function parsedRoots({ roots }: ListenerMaterial): readonly Certificate[] {
  const known = rootsOf.get(roots) ?? roots.map(parseCertificate);
  rootsOf.set(roots, known);
  return known;
}

function entriesOf({ config, listeners }: Snapshot): readonly Entry[] {
  return config.listeners.filter(endsTls).flatMap((listener) => {
    const material = listeners[listener.name];
    return (material?.certificates ?? []).map((certificate) => ({ listener, certificate, chain: chainOf(certificate), roots: material === undefined ? [] : parsedRoots(material) }));
  });
}

function wantedOf(snapshot: Snapshot): readonly StapleWanted[] {
  return entriesOf(snapshot).flatMap(wantedFor);
}

/** Nobody is asked about a certificate whose issuer is not known. */
function wantedFor({ listener: { tls: { stapling } }, chain: [certificate, ...rest], roots }: Entry): readonly StapleWanted[] {
  const issuer = issuerIn(certificate, [...rest, ...roots]);
  if (stapling === false || issuer === undefined || (stapling.responder === undefined && certificate.ocspResponders.length === 0)) return [];
  const { responder, every, timeout } = stapling;
  return [{ certificate, issuer, every, timeout, ...(responder === undefined ? {} : { responder }) }];
}

/** The certificates of a listener that some client is shown. */
function servingOf({ listeners }: Snapshot, listener: string): readonly ServerCertificate[] {
  const all = listeners[listener]?.certificates ?? [];
  const names = ['', ...all.flatMap((certificate) => certificate.names)];
  return [...new Set(names.flatMap((name) => certificatesFor(all, name.replace('*', 'wildcard'))))];
}

/** The files of those that serve its names in its place: of its own kind of key, if there is one. */
function insteadOf(certificate: ServerCertificate, serving: readonly ServerCertificate[]): readonly string[] {
  const others = serving.filter(({ file, names }) => file !== certificate.file && names.some((name) => certificate.names.includes(name)));
  const same = others.filter(({ keyType }) => keyType === certificate.keyType);
  return (same.length > 0 ? same : others).map(({ file }) => file);
}
