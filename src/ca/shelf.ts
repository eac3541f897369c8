import { requestOf } from './desk.ts';
import { pem } from './der.ts';
import type { Reason } from './extensions.ts';
import { requestRow, rowOf, step, type Ground } from './ground.ts';
import { LIVE, take, type Step } from './life.ts';
import type { By, CaEntry, CaRequest, StatusAnswer } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { parseCertificate } from '../pki/certificate.ts';
import { stateAfter, type Logged } from './taken-back.ts';
import { formatName } from '../pki/name.ts';
import { prepareText } from '../pki/preparation.ts';

const SELECT = `SELECT r.id AS id, r.state AS state, r.body AS body, c.serial AS serial, c.generation AS generation, c.der AS der, c.sha256 AS sha256, c.spki AS spki, c.revoked_at AS revoked_at, c.reason AS reason,
  i.certificate AS issuer, (SELECT n.serial FROM certificate n JOIN request m ON m.id = n.request WHERE json_extract(m.body, '$.renews') = +c.serial ORDER BY n.rowid DESC LIMIT 1) AS renewed_by
  FROM certificate c JOIN request r ON r.id = c.request JOIN issuer i ON i.generation = c.generation`;

/** Every certificate that was issued, oldest first. */
export function entries(ground: Ground): readonly CaEntry[] {
  return ground.ledger.database.prepare(`${SELECT} ORDER BY c.rowid`).all().map((row) => entryOf(ground, row));
}

/** Of every certificate what is published: a process that publishes asks for it after every change. */
export function statuses({ ledger: { database }, takenBack }: Ground): readonly Pick<CaEntry, 'serial' | 'generation' | 'notAfter' | 'revoked'>[] {
  const logged = takenBack();
  const rows = database.prepare('SELECT serial, generation, not_after, revoked_at, reason FROM certificate ORDER BY rowid').all();
  const found = rows.map((row) => ({ serial: row['serial'] as string, generation: Number(row['generation']), notAfter: Number(row['not_after']), ...revokedIn(row, logged.get(row['serial'] as string)) }));
  // A row that somebody took out with its revocation.
  const there = new Set(found.map(({ serial }) => serial));
  return [...found, ...[...logged].flatMap(([serial, one]) => (one.revoked === undefined || there.has(serial) ? [] : [{ serial, ...one }]))];
}

/** By the database, or else by the event log. */
function revokedIn(row: Record<string, unknown>, logged: Logged | undefined): Pick<CaEntry, 'revoked'> {
  if (row['revoked_at'] !== null) return { revoked: { at: Number(row['revoked_at']), reason: row['reason'] as Reason } };
  return logged?.revoked === undefined ? {} : { revoked: logged.revoked };
}

/** One of them, by its request or its serial number. Throws an OfficeError. */
export function entry(ground: Ground, id: string): CaEntry {
  const { body, state } = requestRow(ground, id);
  const row = ground.ledger.database.prepare(`${SELECT} WHERE c.request = ?`).get(body.id);
  if (row === undefined) throw new OfficeError('step', `${id}: there is no certificate yet: it is ${state}`);
  return entryOf(ground, row);
}

function entryOf({ policy, now, takenBack }: Ground, row: Record<string, unknown>): CaEntry {
  const { body, state: written } = rowOf(row);
  const { revoked } = revokedIn(row, takenBack().get(row['serial'] as string));
  const state = stateAfter(written, LIVE, revoked);
  const der = Buffer.from(row['der'] as Uint8Array);
  const parsed = parseCertificate(der);
  const certificate = pem('CERTIFICATE', der);
  const profile = Object.hasOwn(policy.profiles, body.profile) ? policy.profiles[body.profile] : undefined;
  const text = (key: string): string | undefined => (row[key] === null ? undefined : row[key] as string);
  const renewedBy = text('renewed_by');
  return {
    serial: row['serial'] as string, request: body.id, state: LIVE.has(state) && parsed.notAfter <= now() ? 'expired' : state, profile: body.profile, role: profile?.role ?? body.profile,
    subject: formatName(parsed.subject), name: body.name, names: body.names, system: body.system, notBefore: parsed.notBefore, notAfter: parsed.notAfter, sha256: row['sha256'] as string, spkiSha256: row['spki'] as string,
    der, certificate, chain: certificate + pem('CERTIFICATE', row['issuer'] as Uint8Array), generation: Number(row['generation']),
    ...(revoked === undefined ? {} : { revoked }),
    ...(body.renews === undefined ? {} : { renews: body.renews }), ...(renewedBy === undefined ? {} : { renewedBy }), temporary: body.temporary === true,
  };
}

export function requests(ground: Ground): readonly CaRequest[] {
  return ground.ledger.database.prepare('SELECT id, state, body FROM request ORDER BY rowid').all().map((row) => requestOf(ground, rowOf(row)));
}

/** Those for the successor of a certificate, oldest first; of thousands of devices each asks, so that they are not all read. */
export function renewals(ground: Ground, serial: string): readonly CaRequest[] {
  return ground.ledger.database.prepare("SELECT id, state, body FROM request WHERE json_extract(body, '$.renews') = ? ORDER BY rowid").all(serial).map((row) => requestOf(ground, rowOf(row)));
}

/** Runs a change to a certificate, what has expired meanwhile put on record before; gives the certificate as it is then. */
function changeOf(ground: Ground, id: string, what: Step, change: (before: CaEntry) => void): CaEntry {
  return ground.ledger.change(() => {
    expireAll(ground);
    const { body, state } = requestRow(ground, id);
    const outcome = take(state, what);
    if (outcome.kind === 'refused') throw new OfficeError('step', `${id}: ${outcome.detail}`);
    change(entry(ground, body.id));
    return entry(ground, body.id);
  });
}

export function deliver(ground: Ground, id: string, { to, how, ...by }: By & { readonly to: string; readonly how: string }): CaEntry {
  const receiver = said('to', to);
  return changeOf(ground, id, 'deliver', ({ request, serial }) => void step(ground, request, 'deliver', { ...by, serial, detail: { to: receiver, how: said('how', how) } }));
}

export function confirm(ground: Ground, id: string, { how, ...by }: By & { readonly how: string }): CaEntry {
  return changeOf(ground, id, 'confirm', ({ request, serial, renews }) => {
    step(ground, request, 'confirm', { ...by, serial, detail: { how: said('how', how) } });
    if (renews === undefined) return;
    const old = entry(ground, renews);
    // Revoked or expired in the meantime: nothing is left to be superseded.
    if (old.state === 'delivered' || old.state === 'confirmed') takeBack(ground, 'supersede', old, { ...by, why: `renewed by ${serial}, which was seen working`, reason: 'superseded' });
  });
}

/** Reasons that somebody may give. A hold is for the deny list, which can be lifted; a CRL entry stays. */
export const REASONS: ReadonlySet<string> = new Set<Reason>(['unspecified', 'keyCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'privilegeWithdrawn']);

/** What is said to another one. */
export function reasonFault(reason: string): string {
  return `reason: ${JSON.stringify(reason)}; expected one of ${[...REASONS].join(', ')}${reason === 'certificateHold' ? ' (to stop a certificate for a time, put it on the deny list: wardgate revoke --expires)' : ''}`;
}

export function revoke(ground: Ground, id: string, by: By & { readonly reason: Reason; readonly why: string }): CaEntry {
  if (!REASONS.has(by.reason)) throw new OfficeError('invalid', reasonFault(by.reason));
  said('why', by.why);
  return changeOf(ground, id, 'revoke', (before) => takeBack(ground, 'revoke', before, by));
}

function takeBack(ground: Ground, what: 'revoke' | 'supersede', { request, serial, revoked }: CaEntry, { reason, ...by }: By & { readonly reason: Reason }): void {
  const { time } = step(ground, request, what, { ...by, serial, detail: { reason } });
  // Of one that was superseded the first moment stays.
  ground.ledger.database.prepare('UPDATE certificate SET revoked_at = ?, reason = ? WHERE serial = ?').run(revoked?.at ?? Date.parse(time), reason, serial);
}

export function destroy(ground: Ground, id: string, { witness, how, ...by }: By & { readonly witness: string; readonly how: string }): CaEntry {
  const seenBy = said('witness', witness);
  if (prepareText(seenBy) === prepareText(by.who)) throw new OfficeError('not_authorized', `the witness is ${by.who}, who does it; somebody else has to have seen it`);
  return changeOf(ground, id, 'destroy', ({ request, serial }) => void step(ground, request, 'destroy', { ...by, serial, detail: { witness: seenBy, how: said('how', how) } }));
}

function said(what: string, text: string): string {
  if (text.trim() === '') throw new OfficeError('invalid', `${what}: expected some words for the record`);
  return text.trim();
}

/** Within a change: what has expired, on record. */
export function expireAll(ground: Ground): readonly string[] {
  const now = ground.now();
  const due = ground.ledger.database.prepare("SELECT c.serial AS serial, c.request AS request FROM certificate c JOIN request r ON r.id = c.request WHERE r.state IN ('issued', 'delivered', 'confirmed') AND c.not_after <= ?").all(now);
  return due.map((row) => {
    step(ground, row['request'] as string, 'expire', { who: 'time', serial: row['serial'] as string });
    return row['serial'] as string;
  });
}

export function duplicates(ground: Ground): readonly { readonly spkiSha256: string; readonly entries: readonly CaEntry[] }[] {
  return [...Map.groupBy(entries(ground), ({ spkiSha256 }) => spkiSha256)].flatMap(([spkiSha256, held]) => (held.length < 2 ? [] : [{ spkiSha256, entries: held }]));
}

/** What a responder says of a serial number. */
export function status({ ledger: { database }, takenBack }: Ground, serial: string, generation: number): StatusAnswer {
  const wanted = serial.toLowerCase().replace(/^(00)+(?=..)/, '');
  const logged = takenBack().get(wanted);
  const found = database.prepare("SELECT s.state AS state, s.at AS at, c.revoked_at AS revoked_at, c.reason AS reason FROM serial s LEFT JOIN certificate c ON c.serial = s.serial WHERE s.serial = ? AND s.generation = ?").get(wanted, generation);
  if (logged?.revoked !== undefined && logged.generation === generation && (found?.['revoked_at'] ?? null) === null) return { kind: 'revoked', ...logged.revoked };
  switch (found?.['state']) {
    case 'abandoned': return { kind: 'revoked', at: Number(found['at']), reason: 'unspecified' };
    case 'certificate': return found['revoked_at'] === null ? { kind: 'good' } : { kind: 'revoked', at: Number(found['revoked_at']), reason: found['reason'] as Reason };
    case 'responder': return { kind: 'good' };
    default: return { kind: 'unknown' };
  }
}

