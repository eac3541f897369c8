import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase } from './database/database.ts';
import { freePort } from './listen.ts';
import { ensureDemoPki } from './pki.ts';
import type { DemoPki } from './pki.ts';
import { loadProfile } from './profile.ts';
import type { Profile } from './profile.ts';
import { startRecordsApi } from './records-api.ts';
import { openRecords, seedRecords } from './records.ts';
import { startResponder } from './responder.ts';
import type { Responder, StatusSource } from './responder.ts';
import { demoConfig } from './wardgate-config.ts';

export interface DemoPorts {
  readonly gateway: number;
  readonly console: number;
  readonly metrics: number;
  readonly backend: number;
  readonly responder: number;
}

/** Where the demo listens unless told otherwise; a free port takes the place of one that is taken. */
export const usualPorts: DemoPorts = { gateway: 8443, console: 9444, metrics: 9100, backend: 9443, responder: 8888 };

export interface BackstageOptions {
  /** Absolute directory of the PKI. */
  readonly certificates: string;
  /** File of the generator's profile. */
  readonly profile: string;
  /** Database URL; default an SQLite file in the demo's temporary folder. */
  readonly database?: string;
  /** Preferred ports; 0 takes a free one. */
  readonly ports?: Partial<DemoPorts>;
  /** Where the demo's own folder is made; default the system's folder for temporary files. */
  readonly temporary?: string;
  /** Ends a start that is under way. */
  readonly signal?: AbortSignal;
}

/** Everything of the demo but the gateway. */
export interface Backstage {
  readonly pki: DemoPki;
  readonly profile: Profile;
  readonly database: string;
  readonly ports: DemoPorts;
  /** Temporary folder: configuration, state, CRLs, the SQLite file. */
  readonly folder: string;
  /** The gateway's configuration file. */
  readonly config: string;
  /** Stops the services and removes the folder; the PKI stays. */
  stop(): Promise<void>;
}

const hour = 3_600_000;

/** Makes or reuses the PKI, starts database, API and responder, writes the gateway's configuration. On failure nothing stays behind. */
export async function startBackstage(options: BackstageOptions): Promise<Backstage> {
  await using undo = new AsyncDisposableStack();
  const loaded = await loadProfile(options.profile);
  const pki = await ensureDemoPki(options.certificates, loaded, Date.now());
  options.signal?.throwIfAborted();

  const folder = await mkdtemp(join(options.temporary ?? tmpdir(), 'wardgate-demo-'));
  undo.defer(() => rm(folder, { recursive: true, force: true }));
  const wanted = { ...usualPorts, ...options.ports };
  const { profile } = loaded;

  const url = options.database ?? `sqlite:${join(folder, 'records.sqlite')}`;
  const database = await openDatabase(url);
  undo.defer(() => database.close());
  const records = await openRecords(database);
  await seedRecords(records, Date.now());
  options.signal?.throwIfAborted();

  const api = await startRecordsApi({
    port: await freePort(wanted.backend), certificate: pki.backend.chain, key: pki.backend.key, trust: pki.backendCa.certificate,
    gateway: `CN=${profile.gateway.name},OU=${profile.gateway.unit},O=${profile.organization}`, records,
  });
  undo.defer(() => api.close());
  const responder = await startResponder(statusSources(pki, profile), await freePort(wanted.responder));
  undo.defer(() => responder.stop());

  const crls = await keepCrlFiles(responder, join(folder, 'crls'));
  undo.defer(async () => crls.stop());
  const gateway = await freePort(wanted.gateway);
  const console = await freePort(wanted.console, [gateway]);
  const ports = { gateway, console, metrics: await freePort(wanted.metrics, [gateway, console]), backend: api.port, responder: responder.port };
  const config = join(folder, 'wardgate.yaml');
  await writeFile(config, demoConfig({
    certificates: pki.directory, servers: pki.servers, organization: profile.organization, issuer: profile.issuing.name,
    backendName: profile.backend.names[0] ?? 'localhost', crls: crls.files, ports,
  }), { mode: 0o600 });
  options.signal?.throwIfAborted();

  const running = undo.move();
  return { pki, profile, database: database.dialect, ports, folder, config, stop: () => running.disposeAsync() };
}

function statusSources(pki: DemoPki, profile: Profile): StatusSource[] {
  const revoked = profile.clients.flatMap(({ file, revoked: reason }) => {
    const issued = pki.clients[file];
    return reason === undefined || issued === undefined ? [] : [[issued.serialHex, { at: issued.notBefore, reason }] as const];
  });
  return [
    { name: 'root', authority: pki.root, issued: new Set([pki.issuing.serialHex]), revoked: new Map() },
    {
      name: 'issuing', authority: pki.issuing, delegate: pki.responder,
      issued: new Set(Object.values(pki.clients).map(({ serialHex }) => serialHex)), revoked: new Map(revoked),
    },
  ];
}

/** Keeps the CRLs as files beside the configuration too, fresh for as long as the demo runs. */
async function keepCrlFiles(responder: Responder, directory: string): Promise<{ readonly files: readonly string[]; stop(): void }> {
  const names = ['root', 'issuing'];
  const file = (name: string) => join(directory, `${name}.crl`);
  const writeAll = async (): Promise<void> => {
    for (const name of names) {
      await writeFile(`${file(name)}.new`, await responder.crl(name));
      await rename(`${file(name)}.new`, file(name));
    }
  };
  await mkdir(directory, { mode: 0o700 });
  await writeAll();
  // A failed write leaves the old list, which is good for a day, and the next hour tries again.
  const timer = setInterval(() => void writeAll().catch(() => {}), hour);
  timer.unref();
  return { files: names.map(file), stop: () => clearInterval(timer) };
}
