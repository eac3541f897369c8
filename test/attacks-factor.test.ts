import { afterEach, describe, expect, it } from 'vitest';
import { withoutSession } from '../src/forward/session-token.ts';
import { nameKey } from '../src/policy/webauthn.ts';
import { createAuthenticator, type Options } from './support/authenticator.ts';
import { codeAt, enrol, PATIENT, testFactor, type FactorParts, type TestFactor } from './support/factor.ts';

let test: TestFactor;
const begin = (parts: FactorParts = {}): TestFactor => (test = testFactor({ asked: ['totp', 'sms', 'webauthn'], ...parts }));

afterEach(() => test?.close());

const invited = async (): Promise<string> => (await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test')).code;
const secretOn = (body: string): string => /<code>([A-Z2-7 ]+)<\/code>/.exec(body)?.[1]?.replaceAll(' ', '') as string;

/** Somebody who was shown the invitation, and whose own enrolment is under way when another uses it up. */
async function leftBehind() {
  const { secret } = await enrol(test, test.browser());
  test.now += 60_000;
  const code = await invited();
  const thief = test.browser();
  await thief.submit('enrol', { invitation: code });
  const own = secretOn((await thief.get('enrol/confirm')).body);
  const owner = test.browser();
  const key = createAuthenticator('https://api.hospital.test');
  const options = (await owner.json('POST', 'webauthn/options', { for: 'enrol', invitation: code })).body as unknown as Options;
  expect((await owner.json('POST', 'webauthn/enrol', { webauthn: key.create(options), name: 'blue' })).status).toBe(201);
  return { secret, thief, own };
}

describe('an enrolment on an invitation that was used up', () => {
  it('does not forget wrong codes of the app that is enrolled', async () => {
    begin();
    const { thief, own } = await leftBehind();
    const guess = async (): Promise<number> => (await test.browser().json('POST', 'token', { code: '000000' })).status;
    for (let round = 0; round < 2; round++) {
      for (let tries = 0; tries < 4; tries++) await guess();
      await thief.submit('enrol/confirm', { code: codeAt(own, test.now) });
    }
    await guess();
    expect(await guess()).toBe(429);
  });

  it('does not make a code good again that was taken', async () => {
    begin();
    const { secret, thief, own } = await leftBehind();
    const code = codeAt(secret, test.now);
    expect((await test.browser().json('POST', 'token', { code })).status).toBe(200);
    expect((await test.browser().json('POST', 'token', { code })).status).toBe(401);
    await thief.submit('enrol/confirm', { code: codeAt(own, test.now - 30_000) });
    expect((await test.browser().json('POST', 'token', { code })).status).toBe(401);
  });
});

describe('sessions longer than a day', () => {
  it('end with a reset', async () => {
    begin({ session: { lifetime: 7 * 86_400_000, idle: 7 * 86_400_000 } });
    const visitor = test.browser();
    await enrol(test, visitor);
    expect(await test.factor.find(visitor.cookie, PATIENT)).toMatchObject({ kind: 'valid' });
    test.now += 2 * 86_400_000;
    expect(await test.factor.factors.reset(PATIENT.subject, 'reception')).toMatchObject({ sessions: 1 });
    expect(await test.factor.find(visitor.cookie, PATIENT)).toMatchObject({ kind: 'refused' });
  });
});

describe('the name of a security key', () => {
  it('is not like another\'s, nor like nothing at all', () => {
    expect(nameKey('blue\u3164\u034f', ['blue'])).toBe('blue 2');
    expect(nameKey('\u3164', [])).toBe('Security key');
  });
});

describe('a token of ours', () => {
  it('is left out of fields for the upstream behind what is percent-encoded or escaped, too', () => {
    const token = `wgs_${'a'.repeat(43)}`;
    for (const value of [`https://api/x?return=%2Fy%3Ftoken%3D${token}`, `https://api/x?t=%22${token}%22`, `{"a":"\\u0022${token}"}`]) expect(withoutSession('referer', value), value).toBeUndefined();
    expect(withoutSession('referer', `https://api/x?t=22${token}`)).toContain('t=22wgs_');
  });
});
