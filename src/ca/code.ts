import { timingSafeEqual } from 'node:crypto';
import { refuseKnownKey } from './desk.ts';
import { digestOf } from './canonical.ts';
import { requestRow, type Ground, type RequestRow } from './ground.ts';
import type { RequestBody } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import { sealedEvents } from './proof.ts';

/** What somebody hands to a device: which request, and a secret of 123 bits whose SHA-256 the request has. Nobody guesses that, so a plain digest keeps it. */
const CODE = /^(r-[0-9a-f]{10})\.([a-z0-9-]{29})$/;

export function codeFor(id: string, secret: string): string {
  return `${id}.${secret}`;
}

/** The request that a code was made for, when name and code are both its own. */
export function requestOfCode(ground: Ground, name: string, code: string): RequestRow | undefined {
  const [, id = '', secret = ''] = CODE.exec(code) ?? [];
  const row = id === '' ? undefined : known(ground, id);
  const made = row?.body.key.kind === 'code' ? row.body.key.code_sha256 : digestOf('');
  const same = timingSafeEqual(Buffer.from(digestOf(secret), 'hex'), Buffer.from(made, 'hex'));
  return same && secret !== '' && row?.body.key.kind === 'code' && row.body.name === name ? row : undefined;
}

function known(ground: Ground, id: string): RequestRow | undefined {
  try {
    return requestRow(ground, id);
  } catch (error) {
    if (error instanceof OfficeError && error.code === 'unknown') return undefined;
    throw error;
  }
}

/**
 * Within the change that reserves the serial number: ties the request of a code to the first key that is brought, by the SHA-256 of its SubjectPublicKeyInfo. No other
 * is ever signed for, whatever became of the first: the event that says so has the seal of the issuing key. Throws an OfficeError.
 */
export function bindKey(ground: Ground, body: RequestBody, spki: string | undefined): void {
  if (body.key.kind !== 'code') {
    if (spki !== undefined) throw new OfficeError('invalid', `${body.id}: the key is in the request; no other one can be brought`);
    return;
  }
  if (spki === undefined) throw new OfficeError('step', `${body.id}: issuing is not possible: its device brings the key, with the code, over EST`);
  const bound = sealedEvents(ground, ['reserve'], body.id).flatMap(({ detail }) => (typeof detail['spki'] === 'string' ? [detail['spki']] : []));
  if (bound.some((one) => one !== spki)) throw new OfficeError('not_authorized', `${body.id}: the code is used up: it was used with another key`);
  if (bound.length > 0) return;
  if (ground.now() >= Date.parse(body.key.expires)) throw new OfficeError('not_authorized', `${body.id}: the code has expired`);
  refuseKnownKey(ground, spki);
  // An approver of another CA has a key that is in no table here.
  const people = ground.ledger.events(body.id).flatMap(({ detail }) => (typeof detail['key'] === 'string' ? [detail['key']] : []));
  if (spki === body.applicant.key || people.includes(spki)) throw new OfficeError('key_reused', `${body.id}: the public key is that of somebody who asked for the certificate or approved it; every request needs a new key`);
  ground.ledger.database.prepare('UPDATE request SET spki = ? WHERE id = ?').run(spki, body.id);
}
