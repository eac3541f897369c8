import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { canonical, digestOf } from './canonical.ts';
import { readApproval, type SignedApproval } from './approval.ts';
import { requestOf } from './desk.ts';
import { rowOf, type Ground } from './ground.ts';
import { certificateFileOf, issuers, keyFileOf, sealingKeys } from './issuers.ts';
import { refuseOpenFile } from './key-file.ts';
import type { CaEvent } from './ledger.ts';
import { STEPS, take, type State, type Step } from './life.ts';

/** Everything that is not as it was written: the log first, then what must follow from it, then the files. Empty when all is whole. */
export function faults(ground: Ground): readonly string[] {
  return ground.ledger.unchanging(() => allFaults(ground));
}

function allFaults(ground: Ground): readonly string[] {
  const broken = ground.ledger.fault(sealingKeys(ground));
  // What a broken log tells about the rest is worth nothing.
  if (broken !== undefined) return [broken];
  const events = ground.ledger.events();
  return [...policyFaults(ground, events), ...requestFaults(ground, events), ...certificateFaults(ground, events), ...fileFaults(ground)];
}

function policyFaults({ policyDigest }: Ground, events: readonly CaEvent[]): readonly string[] {
  const accepted = events.findLast(({ step, sealed }) => sealed && (step === 'init' || step === 'policy'));
  return accepted === undefined || accepted.detail['policy'] === policyDigest ? [] : [`policy.yaml: was changed since it was accepted, ${accepted.time}; read it, then wardgate ca policy --accept`];
}

function requestFaults(ground: Ground, events: readonly CaEvent[]): readonly string[] {
  const rows = new Map(ground.ledger.database.prepare('SELECT id, state, body FROM request').all().map((row) => [row['id'] as string, rowOf(row)]));
  const found: string[] = events.some(({ step }) => step === 'init') ? [] : ['the CA was never finished: wardgate ca init was cut off; remove it and make another one'];
  const states = new Map<string, State>();
  const founded = events.find(({ step }) => step === 'init')?.seq ?? Number.POSITIVE_INFINITY;
  for (const { seq, request, step, detail } of events) {
    if (request === undefined || !(STEPS as readonly string[]).includes(step)) continue;
    const outcome = take(states.get(request), step as Step);
    if (outcome.kind === 'refused') found.push(`event ${seq}: ${request}: ${outcome.detail}`);
    else states.set(request, outcome.state);
    const row = rows.get(request);
    if (row === undefined) {
      if (step === 'submit') found.push(`${request}: is in the event log and not in the database`);
      continue;
    }
    if (step === 'submit' && (detail['digest'] !== row.digest || digestOf(canonical(row.body)) !== row.digest)) found.push(`${request}: the request is not what was submitted`);
    if (step === 'approve' && detail['ceremony'] === true && seq > founded) found.push(`event ${seq}: ${request}: approved as in the ceremony, which was over`);
    if (step === 'issue' && row !== undefined && detail['digest'] !== row.digest) found.push(`event ${seq}: ${request}: was issued for another request than the database has`);
    const { signed } = detail as { signed?: SignedApproval };
    if (signed !== undefined) found.push(...faultOf(`event ${seq}: ${request}`, () => readApproval(requestOf(ground, row), signed, 0, false)));
  }
  for (const [id, { state }] of rows) if (states.get(id) !== state) found.push(`${id}: the database says ${state}, the event log ${states.get(id) ?? 'nothing'}`);
  return found;
}

function certificateFaults({ ledger: { database } }: Ground, events: readonly CaEvent[]): readonly string[] {
  const rows = database.prepare('SELECT c.*, i.certificate AS issuer FROM certificate c JOIN issuer i ON i.generation = c.generation').all();
  const bySerial = new Map(rows.map((row) => [row['serial'] as string, row]));
  const found: string[] = [];
  for (const { seq, step, serial = '', detail } of events) {
    const row = bySerial.get(serial);
    if (step === 'issue' && row === undefined) found.push(`event ${seq}: the certificate ${serial} is not in the database`);
    if (step === 'issue' && row !== undefined && detail['sha256'] !== row['sha256']) found.push(`${serial}: is another certificate than the one that was issued`);
    if ((step === 'revoke' || step === 'supersede') && row !== undefined && row['revoked_at'] === null) found.push(`${serial}: was revoked, and the database does not say so`);
  }
  const issued = new Set(events.flatMap(({ step, serial }) => (step === 'issue' && serial !== undefined ? [serial] : [])));
  const takenBack = new Map(events.flatMap(({ step, serial, detail }) => ((step === 'revoke' || step === 'supersede') && serial !== undefined ? [[serial, detail['reason']]] : [])));
  for (const [serial, row] of bySerial) {
    const der = row['der'] as Uint8Array;
    if (!issued.has(serial)) found.push(`${serial}: is in the database, and was never issued`);
    if (digestOf(der) !== row['sha256']) found.push(`${serial}: the certificate in the database was changed`);
    else found.push(...faultOf(serial, () => {
      const x509 = new X509Certificate(der);
      if (x509.serialNumber.toLowerCase() !== serial || !x509.verify(new X509Certificate(row['issuer'] as Uint8Array).publicKey)) throw new Error('is not signed by the issuing CA');
      if (Math.floor(x509.validToDate.getTime()) !== Number(row['not_after'])) throw new Error('ends at another time than the database says');
    }));
    if (row['revoked_at'] !== null && takenBack.get(serial) !== row['reason']) found.push(`${serial}: the database says that it was revoked (${String(row['reason'])}), the event log ${String(takenBack.get(serial) ?? 'nothing')}`);
  }
  return found;
}

function fileFaults(ground: Ground): readonly string[] {
  const { directory } = ground;
  const mode = statSync(directory).mode & 0o777;
  const made = issuers(ground);
  const keys = made.map(({ generation }) => keyFileOf(directory, generation));
  return [
    ...((mode & 0o077) === 0 ? [] : [`${directory}: is open to others (mode 0${mode.toString(8)}); chmod 700`]),
    ...keys.flatMap((file) => (existsSync(file) ? faultOf('', () => refuseOpenFile(file)) : [`${file}: is missing; without it nothing can be issued, and no CRL made`])),
    ...made.flatMap(({ generation, certificate }) => {
      const file = certificateFileOf(directory, generation);
      if (certificate === undefined) return [];
      return existsSync(file) && readFileSync(file, 'utf8') === certificate ? [] : [`${file}: is not the certificate of issuing CA ${generation}`];
    }),
    ...readdirSync(directory).filter((name) => name.endsWith('.key') && !keys.includes(join(directory, name))).map((name) => `${join(directory, name)}: a key that belongs to no issuing CA`),
  ];
}

function faultOf(place: string, look: () => unknown): readonly string[] {
  try {
    look();
    return [];
  } catch (error) {
    return [place === '' ? (error as Error).message : `${place}: ${(error as Error).message}`];
  }
}
