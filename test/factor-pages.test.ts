import fc from 'fast-check';
import jsQr from 'jsqr';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { codeAt, enrol, fieldsOf, PATIENT, testFactor, type Browser, type TestFactor } from './support/factor.ts';

let test: TestFactor;
let browser: Browser;

beforeEach(() => {
  test = testFactor();
  browser = test.browser();
});

afterEach(() => test.close());

const shown = async (visitor: Browser, bearer = PATIENT) => test.factor.find(visitor.cookie, bearer);
const titleOf = (body: string): string | undefined => /<title>([^<]*)<\/title>/.exec(body)?.[1];

describe('enrolment', () => {
  it('needs an invitation: a certificate alone, on a stolen phone, enrols nothing', async () => {
    expect((await browser.get('')).body).toContain('Ask the hospital for an invitation code.');
    const refused = await browser.submit('enrol', { invitation: '0000-0000-0000-0000' });
    expect(refused.status).toBe(403);
    expect(titleOf(refused.body)).toBe('Error: Set up an authenticator app');
    expect(test.reasons()).toEqual(['invitation_wrong']);
    expect((await browser.get('enrol/confirm')).body).not.toContain('<svg');
  });

  it('shows a QR code that an authenticator reads, then ten recovery codes, once', async () => {
    const { code } = await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'reception');
    const confirm = await browser.submit('enrol', { invitation: code.toLowerCase().replaceAll('-', ' ') });
    const read = readQr(confirm.body);
    expect(read).toMatch(/^otpauth:\/\/totp\/Hospital:urn%3Apatient%3A1001\?issuer=Hospital&secret=[A-Z2-7]{32}&algorithm=SHA1&digits=6&period=30$/);
    const secret = new URL(read).searchParams.get('secret') as string;
    const done = await browser.submit('enrol/confirm', { code: codeAt(secret, test.now) });
    expect(done.body.match(/<li>[0-9A-Z-]{19}<\/li>/g)).toHaveLength(10);
    // In another language they would be gone.
    expect(done.body).not.toContain('hreflang');
    expect(await shown(browser)).toMatchObject({ kind: 'valid', factors: ['totp'] });
    expect((await browser.get('enrol/confirm')).body).not.toContain(secret);
    expect(test.records.map(({ event, result, detail, who }) => [event, result, detail, who])).toEqual([
      ['second_factor', 'done', `invited until ${new Date(test.now + 86_400_000).toISOString()}`, 'reception'], ['second_factor', 'done', 'invitation', undefined], ['second_factor', 'done', 'enrolment', undefined],
    ]);
    expect(JSON.stringify(test.records)).not.toContain(secret);
  });

  it('is not done with a wrong first code, and goes on with the right one', async () => {
    const { code } = await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test');
    const confirm = await browser.submit('enrol', { invitation: code });
    const secret = new URL(readQr(confirm.body)).searchParams.get('secret') as string;
    expect((await browser.submit('enrol/confirm', { code: '000000' })).status).toBe(403);
    expect(await shown(browser)).toEqual({ kind: 'none' });
    expect((await browser.submit('enrol/confirm', { code: codeAt(secret, test.now) })).status).toBe(200);
  });

  it('uses an invitation up: of two who confirm with it one is enrolled', async () => {
    const { code } = await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test');
    const other = test.browser();
    const secrets: string[] = [];
    for (const one of [browser, other]) secrets.push(new URL(readQr((await one.submit('enrol', { invitation: code })).body)).searchParams.get('secret') as string);
    const answers = await Promise.all([browser, other].map((one, index) => one.submit('enrol/confirm', { code: codeAt(secrets[index] as string, test.now) })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 403]);
    expect(test.reasons()).toEqual(['invitation_expired']);
  });

  it('anew, with another invitation, ends the authenticator and the sessions of before', async () => {
    const { secret } = await enrol(test, browser);
    const before = browser.cookie;
    const other = test.browser();
    test.now += 60_000;
    await enrol(test, other);
    expect(await test.factor.find(before, PATIENT)).toMatchObject({ reason: 'session_ended' });
    test.now += 60_000;
    const third = test.browser();
    expect((await third.submit('', { code: codeAt(secret, test.now) })).status).toBe(403);
  });
});

describe('signing in', () => {
  let secret: string;
  let codes: readonly string[];

  beforeEach(async () => {
    ({ secret, codes } = await enrol(test, browser));
    browser = test.browser();
    test.now += 60_000;
    test.records.length = 0;
  });

  it('gives a session a new id once the factor is shown, ends the old one, and goes back to where the client came from', async () => {
    await browser.get('?return=%2Frecords%3Fid%3D1');
    const pending = browser.cookie;
    expect(pending).toMatch(/^wgs_[A-Za-z0-9_-]{43}$/);
    const done = await browser.submit('?return=%2Frecords%3Fid%3D1', { code: codeAt(secret, test.now) });
    expect(done.status).toBe(303);
    expect(fieldsOf(done).get('location')).toBe('/records?id=1');
    expect(browser.cookie).not.toBe(pending);
    expect(await test.factor.find(pending, PATIENT)).toMatchObject({ kind: 'refused', reason: 'session_ended', detail: 'replaced' });
    expect(await shown(browser)).toEqual({ kind: 'valid', factors: ['totp'], until: test.now + 3_600_000 });
  });

  it('goes nowhere else than back: another origin is none', async () => {
    for (const evil of ['//evil.test', 'https://evil.test/', '/\\evil.test']) {
      const page = await browser.get(`?return=${encodeURIComponent(evil)}`);
      expect(page.body).not.toContain('evil.test');
    }
    const done = await browser.post('verify', { form: await formToken(browser, ''), return: '//evil.test', code: codeAt(secret, test.now) });
    expect(fieldsOf(done).get('location')).toBe('/.wardgate/session?lang=en');
  });

  it('takes a code once, also of two at the same time', async () => {
    const visitors = Array.from({ length: 5 }, () => test.browser());
    const code = codeAt(secret, test.now);
    const answers = await Promise.all(visitors.map((one) => one.submit('', { code })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 403, 403, 403, 403]);
    expect(test.reasons()).toEqual(Array.from({ length: 4 }, () => 'code_reused'));
  });

  it('locks out after five wrong codes, says so with Retry-After, and puts each on record', async () => {
    for (let attempt = 0; attempt < 5; attempt++) expect((await browser.submit('', { code: '000000' })).status).toBe(403);
    const locked = await browser.submit('', { code: codeAt(secret, test.now) });
    expect(locked.status).toBe(429);
    expect(fieldsOf(locked).get('retry-after')).toBe('60');
    expect(locked.body).toContain('Try again in one minute.');
    expect(test.reasons()).toEqual([...Array.from({ length: 5 }, () => 'code_wrong'), 'locked']);
    expect(test.records.at(-1)).toMatchObject({ role: 'patient', id: 'urn:patient:1001', address: '10.0.0.1', factor: 'totp', listener: 'clinical', result: 'denied' });
    test.now += 60_000;
    expect((await browser.submit('', { code: codeAt(secret, test.now) })).status).toBe(200);
  });

  it('is opened again by staff', async () => {
    for (let attempt = 0; attempt < 5; attempt++) await browser.submit('', { code: '000000' });
    expect(await test.factor.factors.unlock(PATIENT.subject, 'reception')).toBe(true);
    expect(test.records.at(-1)).toMatchObject({ who: 'reception', detail: 'wrong codes forgotten' });
    // Whom nobody has locked out, and whom nobody knows.
    const before = test.records.length;
    expect([await test.factor.factors.unlock(PATIENT.subject, 'reception'), await test.factor.factors.unlock({ role: 'patient', id: 'urn:patient:1O01' }, 'reception')]).toEqual([false, false]);
    expect(test.records).toHaveLength(before);
    expect((await browser.submit('', { code: codeAt(secret, test.now) })).status).toBe(200);
  });

  it('counts wrong codes of one address, whoever types them', async () => {
    for (let count = 0; count < 50; count++) {
      await test.browser({ subject: { role: 'patient', id: `urn:patient:${2000 + count}` }, certificate: 'bb'.repeat(32) }).json('POST', 'token', { recovery_code: '0000-0000-0000-0000' });
    }
    expect((await browser.submit('', { code: codeAt(secret, test.now) })).status).toBe(429);
    expect((await test.browser(PATIENT, '10.0.0.2').submit('', { code: codeAt(secret, test.now) })).status).toBe(200);
  });

  it('goes on for everybody behind an address where somebody guesses wrong now and then', async () => {
    const strangers = Array.from({ length: 60 }, (_, index) => ({ subject: { role: 'patient', id: `urn:patient:${index}` }, certificate: String(index).padStart(64, '0') }));
    for (const stranger of strangers) {
      await test.browser(stranger).json('POST', 'token', { recovery_code: '0000-0000-0000-0000' });
      test.now += 1_800_000;
    }
    for (let attempt = 0; attempt < 5; attempt++) {
      expect((await test.browser().json('POST', 'token', { code: codeAt(secret, test.now) })).status).toBe(200);
      test.now += 600_000;
    }
  });

  it('takes each recovery code once', async () => {
    expect((await browser.submit('recovery', { recovery: codes[0] as string })).status).toBe(200);
    expect(await shown(browser)).toMatchObject({ kind: 'valid', factors: ['totp'] });
    const again = await test.browser().submit('recovery', { recovery: codes[0] as string });
    expect(again.status).toBe(403);
    expect((await test.browser().submit('recovery', { recovery: codes[1] as string })).status).toBe(200);
    expect(await test.factor.factors.list()).toMatchObject([{ recovery_codes: 8 }]);
    expect(test.reasons()).toEqual(['code_reused']);
  });

  it('ends with signing out, and with a reset by staff', async () => {
    await browser.submit('', { code: codeAt(secret, test.now) });
    const out = await browser.submit('session', {}, 'logout');
    expect(out.body).toContain('You are signed out');
    expect(browser.cookie).toBeUndefined();
    test.now += 60_000;
    await browser.submit('', { code: codeAt(secret, test.now) });
    const cookie = browser.cookie;
    expect(await test.factor.factors.reset(PATIENT.subject, 'reception')).toEqual({ reset: true, sessions: 2 });
    expect(await test.factor.find(cookie, PATIENT)).toMatchObject({ reason: 'session_ended', detail: 'reset' });
    test.now += 60_000;
    expect((await browser.json('POST', 'token', { code: codeAt(secret, test.now) })).status).toBe(401);
    expect(test.reasons()).toEqual(['not_enrolled']);
  });

  it('is for one certificate: with another the cookie is refused, and it is on record that it was stolen', async () => {
    await browser.submit('', { code: codeAt(secret, test.now) });
    const thief = test.browser({ subject: { role: 'patient', id: 'urn:patient:2' }, certificate: 'cc'.repeat(32) });
    thief.cookie = browser.cookie;
    expect(await shown(thief, { subject: { role: 'patient', id: 'urn:patient:2' }, certificate: 'cc'.repeat(32) })).toMatchObject({ reason: 'session_other_certificate' });
    await thief.post('logout', { form: 'x' });
    expect(test.reasons()).toEqual(['session_other_certificate']);
    expect(await shown(browser)).toMatchObject({ kind: 'valid' });
  });

  it('is idle after fifteen minutes and over after an hour, whatever is used', async () => {
    await browser.submit('', { code: codeAt(secret, test.now) });
    const opened = test.now;
    for (let step = 0; step < 5; step++) {
      test.now += 700_000;
      expect((await shown(browser)).kind).toBe('valid');
    }
    test.now = opened + 3_600_000;
    expect(await shown(browser)).toMatchObject({ reason: 'session_expired' });
    test.now += 60_000;
    await browser.submit('', { code: codeAt(secret, test.now) });
    test.now += 900_000;
    expect(await shown(browser)).toMatchObject({ reason: 'session_idle' });
  });

  it('keeps ten sessions of a person, and the oldest ends', async () => {
    const first = test.browser();
    await first.submit('', { code: codeAt(secret, test.now) });
    for (let count = 0; count < 10; count++) {
      test.now += 30_000;
      await test.browser().submit('', { code: codeAt(secret, test.now) });
    }
    expect(await shown(first)).toMatchObject({ reason: 'session_ended', detail: 'too many' });
  });

  it('cannot fill the store with sessions that have shown nothing', async () => {
    const { DatabaseSync } = await import('node:sqlite');
    const rows = (): number => {
      const database = new DatabaseSync(`${test.directory}/sessions.db`);
      const count = Number(database.prepare("SELECT count(*) AS cells FROM cells WHERE name LIKE 'session:%'").get()?.['cells']);
      database.close();
      return count;
    };
    await browser.submit('', { code: codeAt(secret, test.now) });
    const before = rows();
    for (let count = 0; count < 100; count++) await test.browser().get('');
    expect(rows() - before).toBeLessThanOrEqual(10);
    expect((await shown(browser)).kind).toBe('valid');
  });

  it('keeps working after a restart, with its sessions, locks and used codes', async () => {
    await browser.submit('', { code: codeAt(secret, test.now) });
    const { directory, keys, now } = test;
    test.factor.close();
    const again = testFactor({ directory, keys });
    again.now = now;
    expect(await again.factor.find(browser.cookie, PATIENT)).toMatchObject({ kind: 'valid' });
    expect((await again.browser().json('POST', 'token', { code: codeAt(secret, now) })).status).toBe(401);
    expect(again.reasons()).toEqual(['code_reused']);
    again.now += 60_000;
    expect((await again.browser().json('POST', 'token', { code: codeAt(secret, again.now) })).status).toBe(200);
    again.close();
  });

  it('gives nothing before its record is kept', async () => {
    const { directory, keys, now } = test;
    test.factor.close();
    const full = testFactor({ directory, keys, record: () => Promise.reject(new Error('ENOSPC')) });
    full.now = now;
    const visitor = full.browser();
    const answer = await visitor.submit('', { code: codeAt(secret, now) });
    expect(answer.status).toBe(503);
    expect(await full.factor.find(visitor.cookie, PATIENT)).toEqual({ kind: 'none' });
    full.close();
  });
});

describe('forms of other origins', () => {
  it.each([
    ['another origin', ['Origin', 'https://evil.test']], ['an opaque origin', ['Origin', 'null']], ['another site, as the browser says', ['Sec-Fetch-Site', 'cross-site']],
    ['another port of the host', ['Origin', 'https://api.hospital.test:9999']], ['a subdomain', ['Sec-Fetch-Site', 'same-site']],
  ])('are refused: %s', async (_, fields) => {
    await enrol(test, browser);
    const form = await formToken(browser, 'session');
    expect((await browser.post('logout', { form }, fields)).status).toBe(403);
    expect((await shown(browser)).kind).toBe('valid');
    expect(test.reasons()).toEqual(['form_refused']);
  });

  it('use up nobody\'s tries', async () => {
    const { secret } = await enrol(test, browser);
    test.now += 60_000;
    for (let attempt = 0; attempt < 6; attempt++) expect((await browser.json('POST', 'token', { code: '000000' }, ['Origin', 'https://evil.test'])).status).toBe(403);
    expect((await browser.json('POST', 'token', { code: codeAt(secret, test.now) })).status).toBe(200);
  });

  it('without the token of the session are refused', async () => {
    await enrol(test, browser);
    expect((await browser.post('logout', { form: 'guess' })).status).toBe(403);
    expect((await shown(browser)).kind).toBe('valid');
  });
});

describe('tokens for clients that are no browsers', () => {
  it('are bound to the certificate (RFC 8705), and end when they are given back', async () => {
    const { secret } = await enrol(test, browser);
    test.now += 60_000;
    const client = test.browser();
    const { status, body, fields } = await client.json('POST', 'token', { code: codeAt(secret, test.now) });
    expect(status).toBe(200);
    expect(body).toEqual({ access_token: expect.stringMatching(/^wgs_/), token_type: 'Bearer', expires_in: 3600, cnf: { 'x5t#S256': Buffer.from(PATIENT.certificate, 'hex').toString('base64url') } });
    expect(fields.get('cache-control')).toBe('no-store');
    expect(fields.has('set-cookie')).toBe(false);
    const token = body['access_token'] as string;
    expect(await test.factor.find(token, PATIENT)).toMatchObject({ kind: 'valid' });
    expect((await client.json('DELETE', 'token', {}, ['Authorization', `Bearer ${token}`])).status).toBe(204);
    expect(await test.factor.find(token, PATIENT)).toMatchObject({ reason: 'session_ended' });
  });

  it('are replaced when another code is shown', async () => {
    const { secret } = await enrol(test, browser);
    test.now += 60_000;
    const client = test.browser();
    const first = (await client.json('POST', 'token', { code: codeAt(secret, test.now) })).body['access_token'] as string;
    test.now += 60_000;
    await client.json('POST', 'token', { code: codeAt(secret, test.now) }, ['Authorization', `Bearer ${first}`]);
    expect(await test.factor.find(first, PATIENT)).toMatchObject({ reason: 'session_ended', detail: 'replaced' });
  });

  it.each([[{}], [{ code: 123_456 }], [{ code: '1', recovery_code: '2' }], [[]], ['x']])('are not given for %j', async (input) => {
    expect((await browser.json('POST', 'token', input)).status).toBe(400);
  });

  it('are told apart by problem+json: a wrong code, and too many', async () => {
    await enrol(test, browser);
    test.now += 60_000;
    for (let attempt = 0; attempt < 5; attempt++) {
      const { status, fields, body } = await test.browser().json('POST', 'token', { code: '000000' });
      expect([status, fields.get('content-type'), body['code']]).toEqual([401, 'application/problem+json', 'step_up_required']);
    }
    const { status, fields, body } = await test.browser().json('POST', 'token', { code: '000000' });
    expect([status, fields.get('retry-after'), body['code']]).toEqual([429, '60', 'rate_limited']);
  });
});

describe('pages', () => {
  it('let in nothing but their own style, are kept nowhere and framed by nobody', async () => {
    const fields = fieldsOf(await browser.get(''));
    expect(fields.get('content-security-policy')).toMatch(/^default-src 'none'; style-src 'sha256-[^']+'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$/);
    expect(fields.get('cache-control')).toBe('no-store');
    expect(fields.get('x-frame-options')).toBe('DENY');
    expect((await browser.get('')).body).not.toMatch(/<script|style=| on\w+=|https?:\/\/(?!www\.w3\.org)/);
  });

  it('are written in English and Chinese, by the header and by choice', async () => {
    expect((await browser.get('')).body).toContain('<html lang="en">');
    expect((await browser.get('', ['Accept-Language', 'zh-CN,zh;q=0.9,en;q=0.8'])).body).toContain('<html lang="zh-CN">');
    expect((await browser.get('', ['Accept-Language', 'fr, en;q=0.2, zh;q=0.1'])).body).toContain('<html lang="en">');
    expect((await browser.get('enrol?lang=zh&return=%2Fx')).body).toContain('href="/.wardgate/enrol?lang=en&amp;return=%2Fx" hreflang="en"');
  });

  it('escape who the certificate says that it is', async () => {
    const visitor = test.browser({ subject: { role: 'patient', id: '<script>alert("1")</script>&\'' }, certificate: 'dd'.repeat(32) });
    const { body } = await visitor.get('');
    expect(body).toContain('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;&#39;');
    expect(body).not.toContain('<script>');
  });

  it.each([['GET', 'nothing', 404], ['PUT', '', 405], ['GET', 'token', 405], ['DELETE', 'verify', 405]])('answer %s %s with %i', async (method, page, status) => {
    expect((await test.factor.answerPage({
      id: '1', method, host: 'a', path: `/.wardgate/${page}`, query: '', fields: [], body: new Uint8Array(), identity: { ...PATIENT.subject, roles: new Set(['patient']) }, certificate: PATIENT.certificate,
      address: '10.0.0.1', listener: 'clinical',
    })).status).toBe(status);
  });

  it('answer whatever they are asked, escape all of it, and lead nowhere else', async () => {
    test.close();
    test = testFactor({ asked: ['totp', 'sms', 'webauthn'] });
    await test.factor.factors.invite(PATIENT.subject, 86_400_000, 'test');
    const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom('<script>', '"><img src=x onerror=a()>', '//evil.test', 'wgs_', '__Host-wardgate-session=', '\r\nset-cookie: a=b', 'zh', '%00', '%zz'));
    const pages = fc.constantFrom('', 'verify', 'recovery', 'sms', 'sms/send', 'enrol', 'enrol/confirm', 'session', 'logout', 'token', 'nothing', '__proto__', 'key', 'key.js', 'enrol/key', 'webauthn/options', 'webauthn/enrol');
    const pairs = fc.array(fc.tuple(fc.constantFrom('form', 'lang', 'return', 'code', 'card', 'recovery', 'invitation', 'sent', 'for', 'response', 'name', 'webauthn', '__proto__'), text), { maxLength: 5 });
    const fields = fc.array(fc.tuple(fc.constantFrom('cookie', 'authorization', 'accept-language', 'content-type', 'origin', 'sec-fetch-site', 'host'), text), { maxLength: 4 });
    await fc.assert(fc.asyncProperty(fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE'), pages, pairs, pairs, fields, fc.boolean(), async (method, page, query, form, extra, json) => {
      const answer = await test.factor.answerPage({
        id: '1', method, host: 'a', path: `/.wardgate/${page}`, query: new URLSearchParams(query).toString(), body: Buffer.from(json ? JSON.stringify(Object.fromEntries(form)) : new URLSearchParams(form).toString()),
        fields: ['content-type', json ? 'application/json' : 'application/x-www-form-urlencoded', ...extra.flat()], identity: { ...PATIENT.subject, roles: new Set(['patient']) },
        certificate: PATIENT.certificate, address: '10.0.0.1', listener: 'clinical',
      });
      const body = Buffer.from(answer.body).toString().replace(/<script src="\/\.wardgate\/key\.js" nonce="[A-Za-z0-9_-]{22}" defer><\/script>/, '');
      expect([200, 204, 303, 400, 401, 403, 404, 405, 429]).toContain(answer.status);
      expect(body).not.toMatch(/<script|<img|href="(?!\/\.wardgate\/|\/(?![/\\])|#)/);
      expect(answer.fields.join('\n')).not.toMatch(/\r|set-cookie: a|evil/);
    }), { numRuns: 400 });
  });

  it('say that the service is away, and let nobody in, while what they stand on is', async () => {
    test.factor.close();
    expect((await browser.get('')).status).toBe(503);
    expect(await test.factor.find(`wgs_${'a'.repeat(43)}`, PATIENT)).toMatchObject({ kind: 'refused', reason: 'factors_unavailable' });
  });
});

async function formToken(visitor: Browser, page: string): Promise<string> {
  return /name="form" value="([^"]+)"/.exec((await visitor.get(page)).body)?.[1] as string;
}

/** Draws the picture's path as a bitmap and reads it with another library than the one that wrote it. */
function readQr(body: string): string {
  const size = Number(/viewBox="0 0 (\d+) \d+"/.exec(body)?.[1]);
  const scale = 4;
  const width = size * scale;
  const pixels = new Uint8ClampedArray(width * width * 4).fill(255);
  for (const [, x, y] of body.matchAll(/M(\d+) (\d+)h1v1h-1z/g)) {
    for (let row = 0; row < scale; row++) {
      for (let column = 0; column < scale; column++) pixels.fill(0, ((Number(y) * scale + row) * width + Number(x) * scale + column) * 4, ((Number(y) * scale + row) * width + Number(x) * scale + column) * 4 + 3);
    }
  }
  const read = (jsQr as unknown as typeof jsQr.default)(pixels, width, width);
  if (read === null) throw new Error('no QR code');
  return read.data;
}
