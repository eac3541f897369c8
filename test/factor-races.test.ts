import jsQr from 'jsqr';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AuditRecord } from '../src/audit/record.ts';
import { createAuthenticator, type Options } from './support/authenticator.ts';
import { codeAt, enrol, PATIENT, testFactor, type TestFactor } from './support/factor.ts';

/** A gateway on which something happens after a right code is on record, and before its session is opened. */
let test: TestFactor;
let meanwhile: (() => Promise<unknown>) | undefined;
const records: AuditRecord[] = [];

beforeEach(() => {
  meanwhile = undefined;
  records.length = 0;
  test = testFactor({
    asked: ['totp', 'sms', 'webauthn'], async record(record) {
      records.push(record);
      const happens = record.result === 'done' && record.who === undefined ? meanwhile : undefined;
      meanwhile = happens === undefined ? meanwhile : undefined;
      await happens?.();
    },
  });
});

afterEach(() => test.close());

const reset = (): Promise<unknown> => test.factor.factors.reset(PATIENT.subject, 'reception');

describe('a reset at the moment of a right code', () => {
  it('ends the session that is opened on it: app, recovery code, page and call', async () => {
    for (const how of ['code', 'recovery_code', 'page'] as const) {
      const { secret, codes } = await enrol(test, test.browser());
      test.now += 60_000;
      meanwhile = reset;
      const visitor = test.browser();
      if (how === 'page') {
        expect((await visitor.submit('', { code: codeAt(secret, test.now) })).status).toBe(403);
        expect(await test.factor.find(visitor.cookie, PATIENT)).toEqual({ kind: 'none' });
      } else {
        expect((await visitor.json('POST', 'token', how === 'code' ? { code: codeAt(secret, test.now) } : { recovery_code: codes[0] })).status).toBe(401);
      }
      expect(records.at(-1)).toMatchObject({ result: 'denied', reason: 'not_enrolled', detail: 'the enrolment was changed while it was used' });
      test.now += 60_000;
    }
  });

  it('ends that of a security key, also when that key alone is removed', async () => {
    const key = createAuthenticator('https://api.hospital.test');
    const visitor = test.browser();
    const options = async (input: object): Promise<Options> => (await visitor.json('POST', 'webauthn/options', input)).body as unknown as Options;
    const { code } = await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test');
    expect((await visitor.json('POST', 'webauthn/enrol', { webauthn: key.create(await options({ for: 'enrol', invitation: code })), name: 'lost' })).status).toBe(201);
    meanwhile = () => test.factor.factors.removeKey(PATIENT.subject, 'lost', 'reception');
    expect((await visitor.json('POST', 'token', { webauthn: key.get(await options({})) })).status).toBe(401);
    expect(records.at(-1)).toMatchObject({ reason: 'not_enrolled' });
  });

  it('ends a session that goes on to an enrolment', async () => {
    const visitor = test.browser();
    await enrol(test, visitor);
    const { code } = await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test');
    meanwhile = reset;
    await visitor.submit('enrol', { invitation: code });
    expect(records.at(-1)).toMatchObject({ result: 'denied', reason: 'not_enrolled' });
    expect((await test.factor.find(visitor.cookie, PATIENT)).kind).not.toBe('valid');
  });

  it('carries nothing over from a session that ends at that moment', async () => {
    const key = createAuthenticator('https://api.hospital.test');
    const visitor = test.browser();
    const { secret } = await enrol(test, visitor);
    const call = (page: string, input: object) => visitor.json('POST', page, input);
    const { code } = await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test');
    const made = key.create((await call('webauthn/options', { for: 'enrol', invitation: code })).body as unknown as Options);
    const { body } = await call('webauthn/enrol', { webauthn: made, name: 'lost' });
    test.now += 60_000;
    meanwhile = () => test.factor.factors.removeKey(PATIENT.subject, 'lost', 'reception');
    const other = test.browser();
    other.cookie = body['access_token'] as string;
    expect((await other.json('POST', 'token', { code: codeAt(secret, test.now) })).status).toBe(401);
  });
});

describe('an id of three thousand characters', () => {
  it.each(['x'.repeat(3_000), '病'.repeat(3_000), '\u{1f9d1}'.repeat(1_500)])('enrols an app by a QR code that phones read, and stays whole in the enrolment', async (id) => {
    const bearer = { subject: { role: 'patient', id }, certificate: 'dd'.repeat(32) };
    const visitor = test.browser(bearer);
    const { code } = await test.factor.factors.invite(bearer.subject, 86_400_000, 'test');
    await visitor.submit('enrol', { invitation: code });
    const read = readQr((await visitor.get('enrol/confirm')).body);
    expect(read.length).toBeLessThan(500);
    expect(decodeURIComponent(new URL(read).pathname)).toMatch(/^\/\/totp\/Hospital:.+…$|^\/Hospital:.+…$/u);
    const secret = new URL(read).searchParams.get('secret') as string;
    expect((await visitor.submit('enrol/confirm', { code: codeAt(secret, test.now) })).status).toBe(200);
    expect((await test.factor.factors.list()).map((one) => one.id)).toEqual([id]);
    // Whose id begins alike is somebody else.
    test.now += 60_000;
    const other = test.browser({ ...bearer, subject: { role: 'patient', id: `${id}2` } });
    expect((await other.json('POST', 'token', { code: codeAt(secret, test.now) })).status).toBe(401);
  });
});

/** What an authenticator reads from the picture on a page. */
function readQr(body: string): string {
  const size = Number(/viewBox="0 0 (\d+) \1"/.exec(body)?.[1]);
  const path = /fill="#000000" d="([^"]*)"/.exec(body)?.[1] ?? '';
  const scale = 4;
  const pixels = new Uint8ClampedArray(size * size * scale * scale * 4).fill(255);
  for (const [, x, y] of path.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) {
    for (let row = 0; row < scale; row++) for (let column = 0; column < scale; column++) pixels.fill(0, ((Number(y) * scale + row) * size * scale + Number(x) * scale + column) * 4, ((Number(y) * scale + row) * size * scale + Number(x) * scale + column) * 4 + 3);
  }
  return (jsQr as unknown as (data: Uint8ClampedArray, width: number, height: number) => { data: string } | null)(pixels, size * scale, size * scale)?.data ?? '';
}
