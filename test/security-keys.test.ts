import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createAuthenticator, encodeCbor, type Authenticator, type KeyAnswer, type Options, type Twist } from './support/authenticator.ts';
import { codeAt, enrol, fieldsOf, PATIENT, testFactor, type Browser, type TestFactor } from './support/factor.ts';
import type { Bearer } from '../src/policy/session.ts';

const ORIGIN = 'https://api.hospital.test:8443';
const OTHER: Bearer = { subject: { role: 'patient', id: 'urn:patient:2' }, certificate: 'bb'.repeat(32) };
/** The same person's next certificate. */
const RENEWED: Bearer = { ...PATIENT, certificate: 'cc'.repeat(32) };

let test: TestFactor;
let browser: Browser;
let key: Authenticator;

/** Gives each test of a group a gateway of its own. */
function anew(): void {
  beforeEach(() => {
    test = testFactor({ asked: ['totp', 'sms', 'webauthn'] });
    browser = test.browser();
    key = createAuthenticator(ORIGIN);
  });

  afterEach(() => test.close());
}

/** What a call came to: its status and what it brought. */
type Called = Awaited<ReturnType<Browser['json']>>;

const options = (visitor: Browser, input: object = { for: 'sign-in' }): Promise<Called> => visitor.json('POST', 'webauthn/options', input);
const sign = (visitor: Browser, answer: unknown): Promise<Called> => visitor.json('POST', 'token', { webauthn: answer });

async function invited({ subject }: Bearer = PATIENT): Promise<string> {
  return (await test.factor.factors.invite(subject, 86_400_000, 'test')).code;
}

/** Enrols a key as an app does. */
async function enrolKey(one: Authenticator = key, bearer: Bearer = PATIENT, name = '', twist?: Twist): Promise<Called> {
  const visitor = test.browser(bearer);
  const asked = await options(visitor, { for: 'enrol', invitation: await invited(bearer) });
  return visitor.json('POST', 'webauthn/enrol', { webauthn: one.create(asked.body as unknown as Options, twist), name });
}

/** Asks for a challenge and answers it. */
async function signed(twist?: Twist, visitor: Browser = browser, one: Authenticator = key): Promise<Called> {
  return sign(visitor, one.get((await options(visitor)).body as unknown as Options, twist));
}

const lastReason = (): unknown => test.records.filter(({ event }) => event === 'second_factor').at(-1)?.reason;

describe('enrolling a security key', () => {
  anew();

  it('needs an invitation, which is used up with it', async () => {
    expect((await options(browser, { for: 'enrol' })).status).toBe(401);
    expect(lastReason()).toBe('invitation_wrong');
    expect((await options(browser, { for: 'enrol', invitation: '0000-0000-0000-0000' })).status).toBe(401);
    const code = await invited();
    const [first, second] = [await options(browser, { for: 'enrol', invitation: code }), await options(browser, { for: 'enrol', invitation: code })];
    expect(first.body).toMatchObject({
      rp: { id: 'api.hospital.test', name: 'Hospital' }, attestation: 'none', timeout: 300_000, authenticatorSelection: { userVerification: 'required', residentKey: 'preferred' },
      pubKeyCredParams: [{ alg: -7 }, { alg: -8 }, { alg: -257 }],
    });
    expect(JSON.stringify(first.body['user'])).not.toContain(Buffer.from('urn:patient:1001').toString('base64url'));
    const done = await browser.json('POST', 'webauthn/enrol', { webauthn: key.create(first.body as unknown as Options), name: 'blue\u202e key' });
    expect(done.status).toBe(201);
    expect(done.body).toMatchObject({ token_type: 'Bearer', cnf: { 'x5t#S256': Buffer.from(PATIENT.certificate, 'hex').toString('base64url') } });
    expect(await test.factor.find(done.body['access_token'] as string, PATIENT)).toMatchObject({ kind: 'valid', factors: ['webauthn'] });
    expect((await browser.json('POST', 'webauthn/enrol', { webauthn: createAuthenticator(ORIGIN).create(second.body as unknown as Options) })).status).toBe(401);
    expect(lastReason()).toBe('invitation_expired');
    expect(await test.factor.factors.status(PATIENT.subject)).toMatchObject({ totp: false, keys: [{ name: 'blue key', rp_id: 'api.hospital.test', counter: 1 }] });
  });

  it('goes on beside others: several keys of one person, each by its own name, and the authenticator stays', async () => {
    await enrol(test, browser);
    await enrolKey(key, PATIENT, 'key');
    await enrolKey(createAuthenticator(ORIGIN), PATIENT, 'key');
    expect(await test.factor.factors.status(PATIENT.subject)).toMatchObject({ totp: true, keys: [{ name: 'key' }, { name: 'key 2' }] });
    expect(((await options(browser)).body['allowCredentials'] as object[]).length).toBe(2);
  });

  it('ends at ten', async () => {
    for (let count = 0; count < 10; count++) expect((await enrolKey(createAuthenticator(ORIGIN))).status).toBe(201);
    expect((await enrolKey(createAuthenticator(ORIGIN))).status).toBe(401);
    expect(lastReason()).toBe('webauthn_too_many');
  });

  it('reads no statement of a maker: certificates in it would have the gateway fetch what a stranger names', async () => {
    const attestation = { fmt: 'packed', attStmt: new Map<unknown, unknown>([['alg', -7], ['sig', Buffer.alloc(70)], ['x5c', [Buffer.from('not a certificate')]]]) };
    expect((await enrolKey(key, PATIENT, '', { attestation })).status).toBe(201);
  });

  it.each<[string, Twist, string]>([
    ['another origin', { origin: 'https://evil.test' }, 'webauthn_origin'],
    ['another port', { origin: 'https://api.hospital.test:9999' }, 'webauthn_origin'],
    ['plain HTTP', { origin: 'http://api.hospital.test' }, 'webauthn_origin'],
    ['a frame', { crossOrigin: true }, 'webauthn_origin'],
    ['another RP id', { rpId: 'evil.test' }, 'webauthn_rp'],
    ['nobody there', { flags: 0 }, 'webauthn_unverified'],
    ['nobody verified', { flags: 1 }, 'webauthn_unverified'],
    ['the other ceremony', { type: 'webauthn.get' }, 'webauthn_malformed'],
    ['an algorithm that was not asked for', { algorithm: -36 }, 'webauthn_malformed'],
    ['another id than its own', { id: 'AAAA' }, 'webauthn_malformed'],
    ['a challenge of nobody\'s', { challenge: 'A'.repeat(43) }, 'webauthn_challenge'],
  ])('is refused with its reason: %s', async (_, twist, reason) => {
    expect((await enrolKey(key, PATIENT, '', twist)).status).toBe(401);
    expect(lastReason()).toBe(reason);
    expect((await test.factor.factors.status(PATIENT.subject))?.keys).toEqual([]);
  });

  it('is refused for a key that somebody has: another person, or the same', async () => {
    await enrolKey();
    expect((await enrolKey(key, OTHER)).status).toBe(401);
    expect((await enrolKey()).status).toBe(401);
    expect(test.reasons()).toEqual(['webauthn_key_taken', 'webauthn_key_taken']);
    // Whoever is reset has it no more.
    await test.factor.factors.reset(PATIENT.subject, 'test');
    test.now += 60_000;
    expect((await enrolKey(key, OTHER)).status).toBe(201);
  });
});

describe('signing in with a security key', () => {
  anew();

  beforeEach(async () => {
    await enrolKey();
    test.records.length = 0;
  });

  it('gives a session under a new id, bound to the certificate, and notes the use', async () => {
    const first = await signed();
    expect(first.status).toBe(200);
    const second = await signed();
    expect(second.body['access_token']).not.toBe(first.body['access_token']);
    expect(await test.factor.find(second.body['access_token'] as string, PATIENT)).toEqual({ kind: 'valid', factors: ['webauthn'], until: test.now + 3_600_000 });
    expect(await test.factor.find(second.body['access_token'] as string, RENEWED)).toMatchObject({ reason: 'session_other_certificate' });
    expect(test.records.map(({ result, factor, detail }) => [result, factor, detail])).toEqual([['done', 'webauthn', 'security key'], ['done', 'webauthn', 'security key']]);
    expect(await test.factor.factors.status(PATIENT.subject)).toMatchObject({ keys: [{ counter: 3, used: new Date(test.now).toISOString() }] });
  });

  it('does not take a forged counter for a copy: the signature is looked at first', async () => {
    await signed({ stranger: true, counter: 0 });
    expect(lastReason()).toBe('webauthn_signature');
  });

  it('takes a key without a counter again and again', async () => {
    const passkey = createAuthenticator(ORIGIN, false);
    await enrolKey(passkey);
    for (let count = 0; count < 2; count++) expect((await signed({}, browser, passkey)).status).toBe(200);
  });

  it.each([-8, -257] as const)('takes keys of the algorithm %i as well', async (algorithm) => {
    const other = createAuthenticator(ORIGIN, true, algorithm);
    expect((await enrolKey(other)).status).toBe(201);
    expect((await signed({}, browser, other)).status).toBe(200);
    expect((await signed({ challenge: 'A'.repeat(43) }, browser, other)).status).toBe(401);
  });

  it('takes an answer once, also of two at the same time', async () => {
    const answer = key.get((await options(browser)).body as unknown as Options);
    const answers = await Promise.all([1, 2, 3].map(() => sign(test.browser(), answer)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401, 401]);
    expect(test.reasons()).toEqual(['webauthn_replayed', 'webauthn_replayed']);
  });

  it('takes no answer twice that was wrong the first time', async () => {
    const { body } = await options(browser);
    await sign(browser, key.get(body as unknown as Options, { origin: 'https://evil.test' }));
    await sign(browser, key.get(body as unknown as Options));
    expect(test.reasons()).toEqual(['webauthn_origin', 'webauthn_replayed']);
  });

  it('takes no challenge of another certificate, not even of the same person, of another person, or of an enrolment', async () => {
    const given = (await options(browser)).body as unknown as Options;
    await sign(test.browser(RENEWED), key.get(given));
    await enrolKey(createAuthenticator(ORIGIN), OTHER);
    const others = (await options(test.browser(OTHER))).body as unknown as Options;
    await sign(browser, key.get({ ...others, rpId: 'api.hospital.test' }));
    const enrolling = (await options(browser, { for: 'enrol', invitation: await invited() })).body as unknown as Options;
    await sign(browser, key.get({ ...enrolling, rpId: 'api.hospital.test' }));
    expect(test.reasons()).toEqual(['webauthn_challenge', 'webauthn_challenge', 'webauthn_challenge']);
    expect(test.records.at(-1)?.detail).toContain('a challenge that was given to enrol a key');
  });

  it('takes no challenge that is older than five minutes', async () => {
    const answer = key.get((await options(browser)).body as unknown as Options);
    test.now += 300_000;
    await sign(browser, answer);
    expect(test.reasons()).toEqual(['webauthn_expired']);
  });

  it('takes no key of another person, and calls it that', async () => {
    const others = createAuthenticator(ORIGIN);
    await enrolKey(others, OTHER);
    expect((await signed({}, browser, others)).status).toBe(401);
    expect(test.reasons()).toEqual(['webauthn_other_person']);
  });

  it('gives no challenge to who has no key', async () => {
    expect((await options(test.browser(OTHER))).status).toBe(401);
    expect(test.reasons()).toEqual(['not_enrolled']);
  });

  it('is locked out after five wrong answers, whatever comes then, while the authenticator app still works', async () => {
    const { secret } = await enrol(test, test.browser());
    test.now += 60_000;
    for (let count = 0; count < 5; count++) await signed({ stranger: true });
    const locked = await options(browser);
    expect([locked.status, locked.body['code'], locked.fields.get('retry-after')]).toEqual([429, 'rate_limited', '60']);
    expect(lastReason()).toBe('locked');
    expect((await browser.json('POST', 'token', { code: codeAt(secret, test.now) })).status).toBe(200);
    expect((await options(browser)).status).toBe(429);
    test.now += 60_000;
    expect((await signed()).status).toBe(200);
  });

  it('counts wrong answers against their address', async () => {
    for (let count = 0; count < 50; count++) {
      await sign(browser, { nonsense: true });
      if (count % 4 === 3) await test.factor.factors.unlock(PATIENT.subject, 'test');
    }
    const elsewhere = test.browser(OTHER, '10.0.0.1');
    expect((await sign(elsewhere, {})).status).toBe(429);
  });

  it('answers CBOR that is none, or too deep, as an enrolment', async () => {
    const objects = [
      Buffer.from('ff', 'hex'), Buffer.from('a1', 'hex'), Buffer.from('9bffffffffffffffff', 'hex'), Buffer.from('bbffffffffffffffff', 'hex'), Buffer.from('5bffffffffffffffff', 'hex'),
      Buffer.alloc(12_000, 0x81), Buffer.from('00', 'hex'), encodeCbor(new Map([['fmt', 'none']])), encodeCbor(new Map<unknown, unknown>([['fmt', 'none'], ['authData', Buffer.alloc(37)]])),
      encodeCbor(new Map<unknown, unknown>([['authData', Buffer.concat([Buffer.alloc(32), Buffer.from('45000000010000', 'hex')])]])),
    ];
    for (const object of objects) {
      const asked = await options(browser, { for: 'enrol', invitation: await invited() });
      const good = key.create(asked.body as unknown as Options);
      const answer = await browser.json('POST', 'webauthn/enrol', { webauthn: { ...good, response: { ...good.response, attestationObject: object.toString('base64url') } } });
      expect(answer.status).toBe(401);
      expect(['webauthn_malformed', 'webauthn_rp']).toContain(lastReason());
      await test.factor.factors.unlock(PATIENT.subject, 'test');
    }
  });

  it('takes one thing at a time', async () => {
    expect((await browser.json('POST', 'token', { code: '123456', webauthn: {} })).status).toBe(400);
    expect((await browser.json('POST', 'webauthn/options', { for: 'anything' })).status).toBe(400);
    expect((await browser.get('webauthn/options')).status).toBe(405);
  });

  it('is not done by a page of another origin, which cannot even have a challenge made', async () => {
    const answer = await browser.json('POST', 'webauthn/options', { for: 'sign-in' }, ['Origin', 'https://evil.test']);
    expect([answer.status, lastReason()]).toEqual([403, 'form_refused']);
  });
});

describe('an answer that is not right', () => {
  let shared: TestFactor;
  let held: Authenticator;
  let asked = 0;

  beforeAll(async () => {
    shared = test = testFactor({ asked: ['webauthn'] });
    key = createAuthenticator(ORIGIN);
    browser = test.browser();
    held = key;
    await enrolKey();
  });

  afterAll(() => shared.close());

  beforeEach(async () => {
    [test, key] = [shared, held];
    browser = test.browser(PATIENT, `10.0.0.${++asked}`);
    await test.factor.factors.unlock(PATIENT.subject, 'test');
    test.records.length = 0;
  });

  it.each<[string, Twist, string]>([
    ['another origin', { origin: 'https://evil.test' }, 'webauthn_origin'],
    ['another port', { origin: 'https://api.hospital.test:9999' }, 'webauthn_origin'],
    ['a host that only begins alike', { origin: 'https://api.hospital.test.evil.test' }, 'webauthn_origin'],
    ['a frame', { crossOrigin: true }, 'webauthn_origin'],
    ['a frame that says so otherwise', { topOrigin: 'https://evil.test' }, 'webauthn_origin'],
    ['another RP id', { rpId: 'evil.test' }, 'webauthn_rp'],
    ['nobody there', { flags: 0 }, 'webauthn_unverified'],
    ['nobody verified', { flags: 1 }, 'webauthn_unverified'],
    ['the other ceremony', { type: 'webauthn.create' }, 'webauthn_malformed'],
    ['a challenge of nobody\'s', { challenge: 'A'.repeat(43) }, 'webauthn_challenge'],
    ['a key that is not enrolled', { id: 'AAAA' }, 'webauthn_unknown_key'],
    ['a signature of another key', { stranger: true }, 'webauthn_signature'],
    ['the handle of another person', { userHandle: 'AAAA' }, 'webauthn_other_person'],
    ['a counter that stands still', { counter: 1 }, 'webauthn_counter'],
    ['a counter that goes back', { counter: 0 }, 'webauthn_counter'],
  ])('is refused with its reason, of which the client learns nothing: %s', async (_, twist, reason) => {
    const refused = await signed(twist);
    expect([refused.status, refused.body['code'], refused.fields.get('www-authenticate')]).toEqual([401, 'step_up_required', 'Bearer error="insufficient_user_authentication"']);
    expect(JSON.stringify(refused.body)).not.toContain('webauthn');
    expect(test.reasons()).toEqual([reason]);
    expect(test.records.at(-1)).toMatchObject({ result: 'denied', factor: 'webauthn', role: 'patient', id: 'urn:patient:1001', address: `10.0.0.${asked}`, fingerprint: PATIENT.certificate });
    expect((await signed()).status).toBe(200);
  });

  it.each<[string, unknown]>([
    ['nothing', {}], ['no object', 'text'], ['a list', []], ['null', null], ['JSON that is cut', '{"id":'], ['no base64url', { id: '+/==', type: 'public-key', response: {} }],
    ['client data that is no JSON', { response: { clientDataJSON: 'AAAA' } }], ['client data without a challenge', { response: { clientDataJSON: Buffer.from('{"type":"webauthn.get"}').toString('base64url') } }],
    ['client data in another encoding', { response: { clientDataJSON: Buffer.from('{"type":"webauthn.get","challenge":"\xff","origin":"x"}', 'latin1').toString('base64url') } }],
    ['authenticator data that is too short', { response: { authenticatorData: 'AAAA' } }], ['authenticator data with more at its end', { response: { authenticatorData: 'more' } }],
    ['a signature that is none', { response: { signature: 'AAAA' } }], ['an id that is too long', { id: 'A'.repeat(1_400), rawId: 'A'.repeat(1_400) }],
    ['a user handle that is too long', { response: { userHandle: 'A'.repeat(100) } }], ['client data that is too long', { response: { clientDataJSON: 'A'.repeat(9_000) } }],
  ])('answers what is no answer of a key: %s', async (_, change) => {
    const good = key.get((await options(browser)).body as unknown as Options) as KeyAnswer;
    const partly = typeof change === 'object' && change !== null && !Array.isArray(change) && Object.keys(change).length > 0;
    const more = (change as { response?: object } | null)?.response ?? {};
    const twisted = 'authenticatorData' in more && more.authenticatorData === 'more' ? { authenticatorData: Buffer.concat([Buffer.from(good.response['authenticatorData'] as string, 'base64url'), Buffer.from('more')]).toString('base64url') } : more;
    const answer = await sign(browser, partly ? { ...good, ...change, response: { ...good.response, ...twisted } } : change);
    expect(answer.status).toBe(401);
    expect(lastReason()).toBe('webauthn_malformed');
  });
});

describe('what staff does', () => {
  anew();

  it('removes one key by its name: its sessions end, the others stay', async () => {
    const other = createAuthenticator(ORIGIN);
    await enrolKey(key, PATIENT, 'lost');
    await enrolKey(other, PATIENT, 'other');
    const { body } = await signed();
    expect(await test.factor.factors.removeKey(PATIENT.subject, 'lost', 'reception')).toEqual({ reset: true, sessions: 3 });
    expect(await test.factor.find(body['access_token'] as string, PATIENT)).toMatchObject({ reason: 'session_ended' });
    expect((await signed()).status).toBe(401);
    expect(lastReason()).toBe('webauthn_unknown_key');
    expect((await signed({}, browser, other)).status).toBe(200);
    expect(await test.factor.factors.removeKey(PATIENT.subject, 'lost', 'reception')).toEqual({ reset: false, sessions: 0 });
    expect(test.records.filter(({ who }) => who === 'reception').map(({ detail }) => detail)).toEqual(['security key "lost" removed, 3 sessions ended']);
  });
});

describe('names of the gateway', () => {
  anew();

  it('make the RP id: a domain above them where one is configured, and then a key works under all of its names', async () => {
    test.close();
    test = testFactor({ asked: ['webauthn'], webauthn: { rp_ids: ['test', 'hospital.test'], origins: ['https://portal.hospital.test'] } });
    browser = test.browser();
    key = createAuthenticator('https://portal.hospital.test');
    expect((await enrolKey()).status).toBe(201);
    expect((await options(browser)).body).toMatchObject({ rpId: 'hospital.test' });
    expect((await signed()).status).toBe(200);
    // Configured ones are all there are.
    expect((await signed({ origin: ORIGIN })).status).toBe(401);
    expect(lastReason()).toBe('webauthn_origin');
  });

  it('that no RP id is for offer no keys', async () => {
    test.close();
    test = testFactor({ asked: ['webauthn'], webauthn: { rp_ids: ['clinic.test'] } });
    browser = test.browser();
    expect((await options(browser)).status).toBe(401);
    expect(test.records.at(-1)).toMatchObject({ reason: 'webauthn_rp', detail: 'no RP id is for api.hospital.test' });
    expect((await browser.get('enrol/key')).status).toBe(404);
  });

  it('may leave it to the key whether it verifies', async () => {
    test.close();
    test = testFactor({ asked: ['webauthn'], webauthn: { user_verification: 'discouraged' } });
    browser = test.browser();
    expect((await enrolKey(key, PATIENT, '', { flags: 1 })).status).toBe(201);
    expect((await signed({ flags: 1 })).status).toBe(200);
    expect((await signed({ flags: 4 })).status).toBe(401);
    expect(lastReason()).toBe('webauthn_unverified');
  });
});

describe('pages', () => {
  anew();

  it('offer the key first and the other ways beside it, and run nothing but their one script', async () => {
    await enrol(test, test.browser());
    await enrolKey();
    const shown = await browser.get('?return=%2Frecords');
    const policy = fieldsOf(shown).get('content-security-policy') ?? '';
    const nonce = /script-src 'nonce-([A-Za-z0-9_-]{22})'/.exec(policy)?.[1];
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toContain('unsafe');
    expect(shown.body.match(/<script[^>]*>[^<]*<\/script>/g)).toEqual([`<script src="/.wardgate/key.js" nonce="${nonce}" defer></script>`]);
    // Without scripts the form stays hidden, and the app is offered.
    expect(shown.body).toMatch(/<form [^>]*action="\/\.wardgate\/key" id="key-form" hidden/);
    expect(shown.body).toContain('<noscript>');
    expect(shown.body).toContain('href="/.wardgate/verify?lang=en&amp;return=%2Frecords"');
    const typed = await browser.get('verify?return=%2Frecords');
    expect(typed.body).toContain('autocomplete="one-time-code"');
    expect(fieldsOf(typed).get('content-security-policy')).not.toContain('script-src');
    expect(fieldsOf(await browser.get('')).get('content-security-policy')).not.toContain(nonce);
    const code = await browser.get('key.js');
    expect([code.status, fieldsOf(code).get('content-type'), fieldsOf(code).get('x-content-type-options')]).toEqual([200, 'text/javascript; charset=utf-8', 'nosniff']);
  });

  it('offer what helps where somebody comes from, and no more: whoever has shown another factor is asked again, and not sent in a circle', async () => {
    const { secret } = await enrol(test, test.browser());
    await enrolKey();
    test.now += 60_000;
    const visitor = test.browser();
    await visitor.submit('', { response: JSON.stringify(key.get((await options(visitor)).body as unknown as Options)) });
    expect((await visitor.get('')).body).toContain('You are signed in');
    const typed = await visitor.get('?for=totp.sms&return=%2Ftyped');
    expect(typed.body).toContain('Code from your authenticator app');
    expect(typed.body).not.toContain('security key');
    expect(fieldsOf(await visitor.submit('?for=totp.sms&return=%2Ftyped', { code: codeAt(secret, test.now) })).get('location')).toBe('/typed');
    expect(await test.factor.find(visitor.cookie, PATIENT)).toMatchObject({ factors: ['webauthn', 'totp'] });
    const other = test.browser();
    test.now += 60_000;
    await other.submit('verify', { code: codeAt(secret, test.now) });
    const keyed = await other.get('?for=webauthn&return=%2Fkeyed');
    expect(keyed.body).toContain('Use my security key or passkey');
    expect(keyed.body).not.toContain('authenticator');
    expect((await other.get('?for=sms')).body).toContain('A second factor is needed');
    // What it says is what routes ask of the role, at most.
    expect((await other.get('?for=nonsense')).body).toContain('You are signed in');
  });

  it('lead from the invitation to the key, from the key to where somebody came from, with a new session each time', async () => {
    const page = await browser.submit('enrol?return=%2Frecords', { invitation: await invited() });
    expect(page.body).toContain('Set up a security key or passkey');
    const before = browser.cookie;
    const asked = await options(browser, { for: 'enrol' });
    const done = await browser.submit('enrol/key?return=%2Frecords', { response: JSON.stringify(key.create(asked.body as unknown as Options)), name: 'blue' });
    expect([done.status, fieldsOf(done).get('location')]).toEqual([303, '/records']);
    expect(await test.factor.find(browser.cookie, PATIENT)).toMatchObject({ factors: ['webauthn'] });
    expect(await test.factor.find(before, PATIENT)).toMatchObject({ reason: 'session_ended' });
    const visitor = test.browser();
    const wrong = await visitor.submit('', { response: JSON.stringify(key.get((await options(visitor)).body as unknown as Options, { origin: 'https://evil.test' })) });
    expect([wrong.status, /<p>(The security key[^<]*)</.exec(wrong.body)?.[1]]).toEqual([403, 'The security key was not accepted. Try again, or use another one.']);
    const right = await visitor.submit('?return=%2Frecords', { response: JSON.stringify(key.get((await options(visitor)).body as unknown as Options)) });
    expect([right.status, fieldsOf(right).get('location')]).toEqual([303, '/records']);
  });
});
