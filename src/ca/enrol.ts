import { parseRequest, sameAlternativeNames } from '../pki/certification-request.ts';
import { EXTENSION } from '../pki/extensions.ts';
import { parseName, sameName } from '../pki/name.ts';
import { subjectOf } from './asked.ts';
import { digestOf } from './canonical.ts';
import { requestOfCode } from './code.ts';
import { readCsr } from './csr.ts';
import { subjectAltName } from './extensions.ts';
import { requestRow, type Ground } from './ground.ts';
import { issue } from './issuing.ts';
import { LIVE } from './life.ts';
import { encodeName } from './names.ts';
import type { By, CaEntry, Enrolment, RequestBody } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { profileOf } from './policy.ts';
import { deliver, entry } from './shelf.ts';

/** An answer may get lost: so long after the signing the same key has it again. */
const AGAIN_MS = 3_600_000;

/**
 * The first certificate of a device, asked for with a name and the code that was made for it. The request is there already, and people approve it like any other: the
 * device brings a key, and decides nothing else. Throws an OfficeError for what is refused to one who has the code.
 */
export async function enrol(ground: Ground, { name, code, csr }: { readonly name: string; readonly code: string; readonly csr: Uint8Array }, by: By): Promise<Enrolment> {
  const row = requestOfCode(ground, name, code);
  if (row === undefined || row.body.key.kind !== 'code') return { kind: 'unknown' };
  const { body } = row;
  const { spki } = readCsr(csr);
  refuseOtherNames(ground, body, csr);
  const made = issuedFor(ground, body.id);
  if (made !== undefined) {
    const signed = ground.ledger.events(body.id).findLast(({ step }) => step === 'issue');
    const recent = signed !== undefined && ground.now() < Date.parse(signed.time) + AGAIN_MS;
    if (!recent || made.spkiSha256 !== digestOf(spki) || !LIVE.has(made.state)) throw new OfficeError('not_authorized', `${body.id}: the code is used up`);
    return { kind: 'issued', entry: handedOver(ground, made, by) };
  }
  if (row.state === 'refused') throw new OfficeError('not_authorized', `${body.id}: the request was refused`);
  if (ground.now() >= Date.parse(row.body.key.expires) && row.state !== 'issuing') throw new OfficeError('not_authorized', `${body.id}: the code has expired`);
  if (row.state === 'requested') return { kind: 'pending', request: body.id };
  const { entry: issued } = await issue(ground, body.id, by, spki);
  return { kind: 'issued', entry: handedOver(ground, issued, by) };
}

function issuedFor(ground: Ground, id: string): CaEntry | undefined {
  return ground.ledger.database.prepare('SELECT serial FROM certificate WHERE request = ?').get(id) === undefined ? undefined : entry(ground, id);
}

/** Two answers at a time may both find it issued. */
function handedOver(ground: Ground, { serial }: CaEntry, { who }: By): CaEntry {
  return ground.ledger.change(() => {
    const { state, body } = requestRow(ground, serial);
    return state === 'issued' ? deliver(ground, serial, { who, to: body.name, how: 'EST simpleenroll, to whoever had the code and the key' }) : entry(ground, serial);
  });
}

/** The names were approved; a device that asks for others has another's code. It may leave them out. */
function refuseOtherNames({ policy }: Ground, body: RequestBody, csr: Uint8Array): void {
  const asked = parseRequest(csr);
  const subject = parseName(encodeName(subjectOf(profileOf(policy, body.profile), body.name)));
  if (asked.subject.der.length > 2 && !sameName(asked.subject, subject)) throw new OfficeError('invalid', `${body.id}: the subject of the request is not ${body.subject}; it may be empty`);
  const named = asked.extensions.some(({ oid }) => oid === EXTENSION.subjectAltName);
  const expected = Object.keys(body.names).length === 0 ? [] : [{ ...subjectAltName(body.names, false), critical: false }];
  if (named && !sameAlternativeNames(asked.extensions, expected)) throw new OfficeError('invalid', `${body.id}: the alternative names of the request are not those that were asked for; they may be left out`);
}
