import { X509Certificate } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ocspNoCheck } from '../ca/extensions.ts';
import { createAuthority, issueCertificate, loadIssued, toPkcs12 } from '../ca/issue.ts';
import type { Authority, CertificateOptions, Issued } from '../ca/issue.ts';
import type { ClientProfile, LoadedProfile, Profile } from './profile.ts';

const day = 86_400_000;
const manifestFile = 'pki.json';
/** Of a file that is being written; a run that was killed leaves some behind. */
const unfinishedSuffix = '.new';
const manifestSchema = z.object({ profile: z.string(), files: z.record(z.string(), z.string()) });

/** The development PKI, in memory and in `directory`. */
export interface DemoPki {
  readonly directory: string;
  readonly kind: 'made' | 'reused';
  /** Why what was there could not be used; absent on the first run and when it could. */
  readonly remade?: string;
  readonly root: Authority;
  readonly issuing: Authority;
  readonly backendCa: Authority;
  readonly responder: Issued;
  readonly gateway: Issued;
  readonly backend: Issued;
  /** By file name. */
  readonly clients: Readonly<Record<string, Issued>>;
  /** File names of the gateway's own certificates, without extension. */
  readonly servers: readonly string[];
}

type Files = ReadonlyMap<string, Issued>;

/**
 * The PKI in `directory`: what is there when it is whole, of the same profile and valid for another day, else a new one. Keys are
 * written with mode 0600, the directory has 0700. Nothing is written when the issuing code refuses the profile.
 */
export async function ensureDemoPki(directory: string, loaded: LoadedProfile, now: number): Promise<DemoPki> {
  const existing = await reusable(directory, loaded, now);
  if (existing.kind === 'whole') return assemble(directory, loaded.profile, existing.files, 'reused');
  const files = await makeAll(loaded.profile, now);
  await writeAll(directory, loaded, files);
  return { ...assemble(directory, loaded.profile, files, 'made'), ...(existing.kind === 'unusable' ? { remade: existing.why } : {}) };
}

function assemble(directory: string, profile: Profile, files: Files, kind: 'made' | 'reused'): DemoPki {
  const file = (name: string): Issued => {
    const found = files.get(name);
    if (found === undefined) throw new Error(`${directory}: no ${name} among the certificates`);
    return found;
  };
  return {
    directory, kind, root: file('root'), issuing: file('issuing'), backendCa: file('backend-ca'), responder: file('responder'),
    gateway: file('gateway'), backend: file('backend'), servers: profile.server.keys.map(serverFile),
    clients: Object.fromEntries(profile.clients.map((client) => [client.file, file(client.file)])),
  };
}

const serverFile = (key: string): string => `server-${key}`;

function expectedFiles(profile: Profile): string[] {
  const clients = profile.clients.map(({ file }) => file);
  return ['root', 'issuing', 'backend-ca', 'responder', 'gateway', 'backend', ...profile.server.keys.map(serverFile), ...clients];
}

async function makeAll(profile: Profile, now: number): Promise<Files> {
  const notBefore = now - 60_000;
  const life = (days: number) => ({ notBefore, notAfter: notBefore + days * day });
  const hash = profile.signature_hash === undefined ? {} : { signatureHash: profile.signature_hash };
  const named = (name: string, unit?: string): CertificateOptions['subject'] =>
    [['CN', name], ...(unit === undefined ? [] : [['OU', unit] as const]), ['O', profile.organization]];
  const authority = (from: Profile['root'], extra: { issuer?: Authority; pathLen?: number; serverUrl?: string }) => createAuthority({
    name: named(from.name), keyType: from.key, ...life(from.days), ...hash, pathLen: extra.pathLen ?? 1,
    ...(extra.issuer === undefined ? {} : { issuer: extra.issuer }), ...(extra.serverUrl === undefined ? {} : statusUrls(extra.serverUrl, 'root')),
  });

  const { url } = profile.responder;
  const root = await authority(profile.root, {});
  const issuing = await authority(profile.issuing, { issuer: root, pathLen: 0, serverUrl: url });
  const backendCa = await authority(profile.backend_ca, { pathLen: 0 });
  const leaves: readonly (readonly [string, Authority, CertificateOptions])[] = [
    ...profile.server.keys.map((keyType) => [serverFile(keyType), issuing, {
      subject: named(profile.server.names[0] ?? 'localhost'), san: { dns: profile.server.names, ip: profile.server.addresses }, eku: ['serverAuth'],
      keyType, ...life(profile.server.days), ...statusUrls(url, 'issuing'),
    }] as const),
    ['backend', backendCa, {
      subject: named(profile.backend.names[0] ?? 'localhost'), san: { dns: profile.backend.names, ip: profile.backend.addresses }, eku: ['serverAuth'],
      keyType: profile.backend.key, ...life(profile.backend.days),
    }],
    ['gateway', backendCa, { subject: named(profile.gateway.name, profile.gateway.unit), keyType: profile.gateway.key, ...life(profile.gateway.days) }],
    ['responder', issuing, {
      subject: named(profile.responder.name, profile.responder.unit), eku: ['OCSPSigning'], extensions: [ocspNoCheck()], keyType: profile.responder.key,
      ...life(profile.responder.days),
    }],
    ...profile.clients.map((client) => [client.file, issuing, {
      subject: named(client.name, client.unit), ...alternativeNames(client), keyType: client.key, ...life(client.days), ...statusUrls(url, 'issuing'),
    }] as const),
  ];
  const issued = await Promise.all(leaves.map(async ([file, by, options]) => [file, await issueCertificate(by, { ...options, ...hash })] as const));
  return new Map([['root', root], ['issuing', issuing], ['backend-ca', backendCa], ...issued]);
}

function statusUrls(responder: string, crl: 'root' | 'issuing') {
  return { ocsp: responder, crlDistributionPoints: [new URL(`${crl}.crl`, responder).href] };
}

function alternativeNames(client: ClientProfile): Pick<CertificateOptions, 'san'> {
  if (client.uri === undefined && client.dns === undefined) return {};
  return { san: { ...(client.uri === undefined ? {} : { uri: client.uri }), ...(client.dns === undefined ? {} : { dns: client.dns }) } };
}

async function writeAll(directory: string, loaded: LoadedProfile, files: Files): Promise<void> {
  const { profile, digest } = loaded;
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  // Without its manifest a directory is never reused, so a run that dies half-way leaves nothing that looks whole.
  await rm(join(directory, manifestFile), { force: true });
  const unfinished = (await readdir(directory)).filter((name) => name.endsWith(unfinishedSuffix));
  await Promise.all(unfinished.map((name) => rm(join(directory, name))));
  const authorities = ['issuing', 'root'].flatMap((name) => files.get(name) ?? []);
  const writes = [...files].flatMap(([name, issued]) => [
    write(directory, `${name}.pem`, issued.chain, 0o644),
    write(directory, `${name}.key`, issued.key, 0o600),
  ]);
  const browsers = profile.clients.map(async (client) => {
    const issued = files.get(client.file);
    if (issued === undefined) return;
    const { password, iterations } = profile.pkcs12;
    await write(directory, `${client.file}.p12`, await toPkcs12(issued, { password, iterations, name: client.name, certificates: authorities }), 0o600);
  });
  await Promise.all([...writes, ...browsers]);
  const hashes = Object.fromEntries([...files].map(([name, { sha256 }]) => [name, sha256]));
  await write(directory, manifestFile, `${JSON.stringify({ profile: digest, files: hashes }, undefined, 2)}\n`, 0o644);
}

/** Through a new file, since `mode` does not change the mode of one that exists. */
async function write(directory: string, name: string, content: string | Buffer, mode: number): Promise<void> {
  const target = join(directory, name);
  const fresh = `${target}.${process.pid}${unfinishedSuffix}`;
  await rm(fresh, { force: true });
  await writeFile(fresh, content, { mode, flag: 'wx' });
  await rename(fresh, target);
}

type Existing =
  | { readonly kind: 'whole'; readonly files: Files }
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string };

async function reusable(directory: string, { profile, digest }: LoadedProfile, now: number): Promise<Existing> {
  const text = await readFile(join(directory, manifestFile), 'utf8').catch(() => undefined);
  if (text === undefined) return { kind: 'absent' };
  try {
    const manifest = manifestSchema.parse(JSON.parse(text));
    if (manifest.profile !== digest) return { kind: 'unusable', why: 'the profile has changed' };
    const files = new Map<string, Issued>();
    for (const name of expectedFiles(profile)) files.set(name, await readBack(directory, name, manifest.files[name], now));
    for (const { file } of profile.clients) await refuseReadableByOthers(join(directory, `${file}.p12`));
    return { kind: 'whole', files };
  } catch (error) {
    return { kind: 'unusable', why: error instanceof Error ? error.message : String(error) };
  }
}

async function readBack(directory: string, name: string, sha256: string | undefined, now: number): Promise<Issued> {
  await refuseReadableByOthers(join(directory, `${name}.key`));
  const [chain, key] = await Promise.all([readFile(join(directory, `${name}.pem`), 'utf8'), readFile(join(directory, `${name}.key`), 'utf8')]);
  const issued = loadIssued(chain, key);
  if (issued.sha256 !== sha256) throw new Error(`${name}.pem is not the certificate that was made`);
  if (issued.notBefore > now || issued.notAfter < now + day) throw new Error(`${name}.pem ${expiry(issued)}`);
  return issued;
}

function expiry(issued: Issued): string {
  return `is valid until ${new X509Certificate(issued.der).validTo}`;
}

async function refuseReadableByOthers(file: string): Promise<void> {
  const { mode } = await stat(file);
  if ((mode & 0o077) !== 0) throw new Error(`${file} was readable by others`);
}
