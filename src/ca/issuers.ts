import { createPublicKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { parseCertificate } from '../pki/certificate.ts';
import { writeWhole } from '../store/whole-file.ts';
import { issueCrl, type RevokedEntry } from './crl.ts';
import { makeCsr } from './csr.ts';
import { digestOf } from './canonical.ts';
import { record, type Ground } from './ground.ts';
import { loadIssued, type Authority } from './issue.ts';
import { encryptKey, type ScryptCost } from './key-file.ts';
import { generateKey, spkiOf, type KeyType } from './keys.ts';
import { longestValidity } from './limits.ts';
import type { Subject } from './names.ts';
import type { By, IssuedCrl, Issuer } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { statuses } from './shelf.ts';

const DAY_MS = 86_400_000;
/** What has expired stays on the CRL that long (RFC 5280 section 3.3 asks for one more than that). */
const KEPT_MS = 31 * DAY_MS;

export function keyFileOf(directory: string, generation: number): string {
  return join(directory, `issuing-${generation}.key`);
}

export function certificateFileOf(directory: string, generation: number): string {
  return join(directory, `issuing-${generation}.pem`);
}

/** Every issuing CA, from the first. */
export function issuers({ ledger }: Pick<Ground, 'ledger'>): readonly Issuer[] {
  return ledger.database.prepare('SELECT generation, state, certificate FROM issuer ORDER BY generation').all().map((row) => ({
    generation: Number(row['generation']), state: row['state'] as Issuer['state'], ...(row['certificate'] === null ? {} : { certificate: new X509Certificate(row['certificate'] as Uint8Array).toString() }),
  }));
}

/** An issuing CA with its key. Throws an OfficeError without a passphrase. */
export function authorityOf(ground: Ground, generation: number): Authority {
  const certificate = issuers(ground).find((one) => one.generation === generation)?.certificate;
  if (certificate === undefined) throw new OfficeError('unknown', `there is no issuing CA ${generation}`);
  return loadIssued(certificate, ground.key(generation));
}

/** Public keys of the issuing CAs, which have sealed events. */
export function sealingKeys(ground: Pick<Ground, 'ledger'>): ReadonlyMap<number, KeyObject> {
  return new Map(issuers(ground).flatMap(({ generation, certificate }) => (certificate === undefined ? [] : [[generation, createPublicKey(certificate)]])));
}

/** Makes the next CRL of a generation: on record, number and all, before anybody sees it. */
export async function crl(ground: Ground, generation: number): Promise<IssuedCrl> {
  const authority = authorityOf(ground, generation);
  const { database } = ground.ledger;
  ground.takenBack();
  const thisUpdate = ground.now() - 60_000;
  const nextUpdate = ground.now() + ground.policy.crl.validity;
  const taken = ground.ledger.change(() => {
    const number = Number(database.prepare('SELECT coalesce(max(number), 0) + 1 AS number FROM crl WHERE generation = ?').get(generation)?.['number']);
    const revoked = revokedOf(ground, generation);
    record(ground, 'crl', { who: 'the CA', detail: { number, generation, entries: revoked.length, next_update: new Date(nextUpdate).toISOString() } });
    database.prepare('INSERT INTO crl (generation, number, der, this_update, next_update) VALUES (?, ?, ?, ?, ?)').run(generation, number, Buffer.alloc(0), thisUpdate, nextUpdate);
    return { number, revoked };
  });
  const der = await issueCrl(authority, { revoked: taken.revoked, number: taken.number, thisUpdate, nextUpdate });
  ground.ledger.change(() => database.prepare('UPDATE crl SET der = ? WHERE generation = ? AND number = ?').run(der, generation, taken.number));
  return { generation, number: taken.number, der, thisUpdate, nextUpdate };
}

function revokedOf(ground: Ground, generation: number): readonly RevokedEntry[] {
  const { ledger: { database }, now } = ground;
  const revoked = statuses(ground).flatMap((one) => (one.generation === generation && one.revoked !== undefined && one.notAfter > now() - KEPT_MS ? [{ serial: one.serial, ...one.revoked }] : []))
    .sort((some, other) => some.at - other.at || (some.serial < other.serial ? -1 : 1));
  const abandoned = database.prepare("SELECT serial, at FROM serial WHERE generation = ? AND state = 'abandoned' AND at > ? ORDER BY at, serial").all(generation, now() - longestValidity.leaf - KEPT_MS);
  return [
    // RFC 5280 section 5.3.1: unspecified is told by leaving it out.
    ...revoked.map(({ serial, at, reason }) => ({ serial, date: at, ...(reason === 'unspecified' ? {} : { reason }) })),
    ...abandoned.map((row) => ({ serial: row['serial'] as string, date: Number(row['at']) })),
  ];
}

/** The last CRL of a generation that was finished. */
export function lastCrl({ ledger: { database } }: Ground, generation: number): IssuedCrl | undefined {
  const row = database.prepare('SELECT * FROM crl WHERE generation = ? AND length(der) > 0 ORDER BY number DESC LIMIT 1').get(generation);
  return row === undefined ? undefined : { generation, number: Number(row['number']), der: Buffer.from(row['der'] as Uint8Array), thisUpdate: Number(row['this_update']), nextUpdate: Number(row['next_update']) };
}

/** Makes the key of the next issuing CA, and the request that its root signs. */
export async function requestIssuer(ground: Ground, { subject, keyType, passphrase, cost }: { readonly subject: Subject; readonly keyType: KeyType; readonly passphrase: string; readonly cost?: ScryptCost }, by: By): Promise<string> {
  const { privateKey } = await generateKey(keyType);
  const csr = await makeCsr(privateKey, subject);
  const encrypted = await encryptKey(privateKey, passphrase, cost);
  const spki = digestOf(spkiOf(privateKey));
  ground.ledger.change(() => {
    const { database } = ground.ledger;
    // One that the root has not signed is forgotten: its key file is written over.
    database.prepare("DELETE FROM issuer WHERE state = 'requested'").run();
    const generation = Number(database.prepare('SELECT coalesce(max(generation), 0) + 1 AS generation FROM issuer').get()?.['generation']);
    writeWhole(keyFileOf(ground.directory, generation), encrypted, 0o600);
    database.prepare("INSERT INTO issuer (generation, state, certificate, spki) VALUES (?, 'requested', NULL, ?)").run(generation, spki);
    record(ground, 'issuer_requested', { ...by, detail: { generation, key: spki } });
  });
  return csr;
}

/** Takes the certificate that the root gave to the issuing CA that was requested last. Throws an OfficeError for any other. */
export function installIssuer(ground: Ground, certificate: string, by: By): Issuer {
  const x509 = readPem(certificate);
  const root = new X509Certificate(ground.root);
  if (!x509.verify(root.publicKey)) throw new OfficeError('invalid', 'the certificate is not signed by the root of this CA');
  const parsed = parseCertificate(x509.raw);
  if (parsed.basicConstraints?.ca !== true || parsed.basicConstraints.pathLen !== 0) throw new OfficeError('invalid', 'the certificate is not that of an issuing CA (CA with path length 0)');
  if (parsed.notAfter <= ground.now()) throw new OfficeError('invalid', 'the certificate has expired');
  const spki = digestOf(spkiOf(x509.publicKey));
  const { database } = ground.ledger;
  const issuer = ground.ledger.change((): Issuer => {
    const row = database.prepare("SELECT generation, spki FROM issuer WHERE state = 'requested'").get();
    if (row === undefined || row['spki'] !== spki) throw new OfficeError('invalid', 'the certificate is not for the key that was made last: make a request with wardgate ca renew-issuing, and have that signed');
    const generation = Number(row['generation']);
    database.prepare("UPDATE issuer SET state = 'retired' WHERE state = 'current'").run();
    database.prepare("UPDATE issuer SET state = 'current', certificate = ? WHERE generation = ?").run(x509.raw, generation);
    record(ground, 'issuer_installed', { ...by, serial: parsed.serial, detail: { generation, sha256: parsed.sha256, not_after: new Date(parsed.notAfter).toISOString() } });
    return { generation, state: 'current', certificate: x509.toString() };
  });
  // Not in a rehearsal, which undoes what the database was told and could not undo files.
  if (!database.isTransaction) for (const file of [certificateFileOf(ground.directory, issuer.generation), join(ground.directory, 'issuing.pem')]) writeWhole(file, x509.toString(), 0o644);
  return issuer;
}

function readPem(certificate: string): X509Certificate {
  try {
    return new X509Certificate(certificate);
  } catch (error) {
    throw new OfficeError('invalid', 'the certificate of the issuing CA cannot be read', { cause: error });
  }
}
