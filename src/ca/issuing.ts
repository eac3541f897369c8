import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { formatName, parseName } from '../pki/name.ts';
import { subjectOf } from './asked.ts';
import { bindKey } from './code.ts';
import { refuseUnapproved } from './desk.ts';
import { ocspNoCheck } from './extensions.ts';
import { currentGeneration, record, requestRow, step, type Ground, type RequestRow } from './ground.ts';
import { certifyLeaf, randomSerial, toPkcs12, type Authority, type CertificateOptions, type Certified, type Issued } from './issue.ts';
import { authorityOf } from './issuers.ts';
import { generateKey } from './keys.ts';
import { digestOf } from './canonical.ts';
import { encodeName } from './names.ts';
import type { By, IssueResult } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { newPassphrase } from './passphrase.ts';
import { profileOf } from './policy.ts';
import { entry, expireAll } from './shelf.ts';

/** A signing takes milliseconds: one that is older than this was cut off. */
const SIGNING_MS = 30_000;
const BACKDATED_MS = 60_000;

/**
 * Signs a certificate for an approved request. The serial number is on record before anything is signed with it: should the process die in
 * between, the next attempt puts that number on the CRL and takes another. `brought` is the SubjectPublicKeyInfo that came with a code.
 */
export async function issue(ground: Ground, id: string, by: By, brought?: Buffer): Promise<IssueResult> {
  // Before the change, within which it is not read on.
  ground.takenBack();
  const generation = currentGeneration(ground);
  const authority = authorityOf(ground, generation);
  const { row, serial } = reserve(ground, { id, ...(brought === undefined ? {} : { spki: digestOf(brought) }) }, generation, authority, by);
  let made: { readonly certified: Certified; readonly privateKey?: KeyObject };
  let bundle: IssueResult['bundle'];
  try {
    made = await sign(ground, row, authority, serial, brought);
    bundle = made.privateKey === undefined ? undefined : await bundleOf({ ...made.certified, privateKey: made.privateKey }, authority, row);
  } catch (error) {
    ground.ledger.change(() => abandon(ground, row.body.id, serial, { who: by.who, why: `the signing failed: ${(error as Error).message}` }));
    throw new OfficeError('invalid', `${id}: ${(error as Error).message}`, { cause: error });
  }
  const { certified } = made;
  return ground.ledger.change(() => {
    const held = ground.ledger.database.prepare("SELECT state FROM serial WHERE serial = ? AND state = 'reserved'").get(serial);
    if (held === undefined) throw new OfficeError('busy', `${id}: another process took this signing for one that was cut off, and has given it up`);
    ground.ledger.database.prepare("UPDATE serial SET state = 'certificate' WHERE serial = ?").run(serial);
    ground.ledger.database.prepare('INSERT INTO certificate (serial, request, generation, der, sha256, spki, not_after) VALUES (?, ?, ?, ?, ?, ?, ?)')
      .run(serial, row.body.id, generation, certified.der, certified.sha256, digestOf(certified.spki), certified.notAfter);
    step(ground, row.body.id, 'issue', { ...by, serial, detail: { digest: row.digest, sha256: certified.sha256, generation, not_before: new Date(certified.notBefore).toISOString(), not_after: new Date(certified.notAfter).toISOString(), key: row.body.key.kind } });
    return { entry: entry(ground, row.body.id), ...(bundle === undefined ? {} : { bundle }) };
  });
}

function reserve(ground: Ground, { id, spki }: { readonly id: string; readonly spki?: string }, generation: number, authority: Authority, by: By): { readonly row: RequestRow; readonly serial: string } {
  return ground.ledger.change(() => {
    expireAll(ground);
    const before = requestRow(ground, id);
    if (before.state === 'approved' || before.state === 'issuing') bindKey(ground, before.body, spki);
    if (before.state === 'issuing') giveUpOld(ground, before, by);
    const row = requestRow(ground, id);
    const now = ground.now();
    if (row.state === 'approved') refuseUnapproved(ground, row);
    if (now + row.body.validity > authority.notAfter) throw new OfficeError('invalid', `${id}: the certificate would end after that of the issuing CA, at ${new Date(authority.notAfter).toISOString()}: renew the issuing CA first, or ask for less`);
    const serial = randomSerial();
    ground.ledger.database.prepare("INSERT INTO serial (serial, request, generation, state, at) VALUES (?, ?, ?, 'reserved', ?)").run(serial, row.body.id, generation, now);
    step(ground, row.body.id, 'reserve', { ...by, serial, detail: { generation, ...(spki === undefined ? {} : { spki }) } });
    return { row, serial };
  });
}

function giveUpOld(ground: Ground, { body: { id } }: RequestRow, by: By): void {
  const held = ground.ledger.database.prepare("SELECT serial, at FROM serial WHERE request = ? AND state = 'reserved'").get(id);
  if (held !== undefined && Number(held['at']) > ground.now() - SIGNING_MS) throw new OfficeError('busy', `${id}: it is being signed right now; ask again in half a minute`);
  abandon(ground, id, (held?.['serial'] ?? '') as string, { who: by.who, why: 'the signing was cut off' });
}

function abandon(ground: Ground, id: string, serial: string, by: By): void {
  ground.ledger.database.prepare("UPDATE serial SET state = 'abandoned', at = ? WHERE serial = ? AND state = 'reserved'").run(ground.now(), serial);
  step(ground, id, 'abandon', { ...by, serial });
}

async function sign(ground: Ground, { body }: RequestRow, authority: Authority, serial: string, brought: Buffer | undefined): Promise<{ readonly certified: Certified; readonly privateKey?: KeyObject }> {
  const options = optionsOf(ground, body, serial);
  const said = formatName(parseName(encodeName(options.subject)));
  if (said !== body.subject) throw new OfficeError('invalid', `the profile has another subject by now (${said}) than what was approved (${body.subject}); refuse it, and have it asked for again`);
  if (body.key.kind === 'csr') return { certified: await certifyLeaf(authority, createPublicKey({ key: Buffer.from(body.key.spki, 'base64'), format: 'der', type: 'spki' }), options) };
  if (body.key.kind === 'code') {
    if (brought === undefined) throw new OfficeError('invalid', 'no key was brought');
    return { certified: await certifyLeaf(authority, createPublicKey({ key: brought, format: 'der', type: 'spki' }), options) };
  }
  const { privateKey, publicKey } = await generateKey(body.key.type);
  const certified = await certifyLeaf(authority, publicKey, options);
  return { certified, privateKey };
}

function optionsOf({ policy, now }: Ground, { profile: name, name: common, names, validity }: RequestRow['body'], serial: string): CertificateOptions {
  const profile = profileOf(policy, name);
  const notBefore = now() - BACKDATED_MS;
  return {
    subject: subjectOf(profile, common), serial, notBefore, notAfter: notBefore + validity,
    eku: [profile.use === 'server' ? 'serverAuth' : 'clientAuth'], ...(Object.keys(names).length === 0 ? {} : { san: names }), ...statusPlaces(policy.publish),
  };
}

/** Where certificates say that their status is. */
function statusPlaces({ crl, ocsp, issuer }: { readonly crl?: string; readonly ocsp?: string; readonly issuer?: string }): Pick<CertificateOptions, 'ocsp' | 'caIssuers' | 'crlDistributionPoints'> {
  return { ...(ocsp === undefined ? {} : { ocsp }), ...(issuer === undefined ? {} : { caIssuers: issuer }), ...(crl === undefined ? {} : { crlDistributionPoints: [crl] }) };
}

/** The key that was made here leaves in this, and in nothing else. */
async function bundleOf(issued: Omit<Issued, 'key'>, authority: Authority, { body }: RequestRow): Promise<NonNullable<IssueResult['bundle']>> {
  const passphrase = newPassphrase();
  return { passphrase, pkcs12: await toPkcs12(issued, { password: passphrase, name: body.name, certificates: [authority], iterations: 20_000 }) };
}

const DAY_MS = 86_400_000;

/** A certificate for an OCSP responder. It is nobody's identity, so nobody approves it; it is short instead, and on record. */
export async function issueResponder(ground: Ground, { name, publicKey, validity }: { readonly name: string; readonly publicKey: KeyObject; readonly validity: number }, by: By): Promise<Certified> {
  if (!(validity > 0) || validity > 31 * DAY_MS) throw new OfficeError('invalid', 'validity: expected at most 31 days for a responder');
  const generation = currentGeneration(ground);
  const authority = authorityOf(ground, generation);
  const serial = randomSerial();
  ground.ledger.change(() => {
    ground.ledger.database.prepare("INSERT INTO serial (serial, request, generation, state, at) VALUES (?, '', ?, 'responder', ?)").run(serial, generation, ground.now());
    record(ground, 'responder', { ...by, serial, detail: { name, generation } });
  });
  const notBefore = ground.now() - BACKDATED_MS;
  return certifyLeaf(authority, publicKey, { subject: [['CN', name]], serial, notBefore, notAfter: Math.min(ground.now() + validity, authority.notAfter), eku: ['OCSPSigning'], extensions: [ocspNoCheck()] });
}
