import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isNavigation } from '../src/forward/navigation.ts';
import { problemPage } from '../src/forward/problem-page.ts';
import type { ProblemCode } from '../src/forward/problem.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { chromiumInstalled, startChromium } from './support/chromium.ts';
import { ask, configuration, listener, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';

const BROWSER = { 'Accept': 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8', 'Sec-Fetch-Mode': 'navigate' };
const HELP = 'IT service desk: <b>4711</b>';
const PICTURES = join(import.meta.dirname, 'artefacts/problems');

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let expired: Issued;

beforeAll(async () => {
  pki = await testPki();
  expired = await pki.issueClient({ subject: [['CN', 'Dr. Zhang'], ['OU', 'Doctors']], notBefore: Date.now() - 3 * 86_400_000, notAfter: Date.now() - 86_400_000 });
  backend = await startBackend(pki);
  const help = `    help: ${JSON.stringify(HELP)}\n`;
  gateway = await startGateway(pki, backend.port, {
    listeners: `${listener('fast', { listenerExtra: help })}${listener('general', { listenerExtra: `${help}    http1: { fast_path: false }\n` })}`,
  });
});

afterAll(async () => {
  await gateway?.stop();
  await backend?.close();
});

const portOf = (name: string): number => gateway.gateway.listeners.find((one) => one.name === name)?.port ?? 0;

describe.each(['fast', 'general'])('on the %s path', (name) => {
  it('shows a browser without a certificate what to do, whom to ask, and the number that is on record', async () => {
    const reply = await ask(pki, portOf(name), '/records', { headers: BROWSER });
    expect([reply.status, reply.headers['content-type'], reply.headers['cache-control']]).toEqual([401, 'text/html; charset=utf-8', 'no-store']);
    expect(reply.rawHeaders.filter((one) => /^strict-transport-security$/i.test(one))).toHaveLength(1);
    const text = reply.body.toString();
    expect(text).toContain('Your certificate is needed');
    expect(text).toContain('IT service desk: &lt;b&gt;4711&lt;/b&gt;');
    const id = String(reply.headers['x-request-id']);
    expect(text).toContain(`<code>${id}</code>`);
    await expect.poll(() => gateway.records()).toContainEqual(expect.objectContaining({ request_id: id, reason: 'no_certificate', status: 401 }));
  });

  it('tells who comes with an expired certificate no more than a program is told', async () => {
    const reply = await ask(pki, portOf(name), '/records', { headers: BROWSER, client: expired });
    expect([reply.status, reply.headers['content-type'], reply.headers['connection']]).toEqual([403, 'text/html; charset=utf-8', 'close']);
    expect(reply.body.toString()).toContain('Your certificate was not accepted');
    const revoked = await ask(pki, portOf(name), '/records', { headers: BROWSER, client: pki.revokedDoctor });
    const masked = (body: Buffer, id: unknown): string => body.toString().replaceAll(String(id), 'ID');
    expect(masked(revoked.body, revoked.headers['x-request-id'])).toBe(masked(reply.body, reply.headers['x-request-id']));
  });

  it('shows the page to who sends a form, too; HEAD has the header fields of its GET', async () => {
    const form = await ask(pki, portOf(name), '/records', { method: 'POST', headers: { ...BROWSER, 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'a=b' });
    expect([form.status, form.headers['content-type']]).toEqual([404, 'text/html; charset=utf-8']);
    expect(form.body.toString()).toContain('Page not found');
    const [got, head] = await Promise.all((['GET', 'HEAD'] as const).map((method) => ask(pki, portOf(name), '/records', { method, headers: BROWSER })));
    const fields = (reply: typeof got): object => ({ ...reply?.headers, 'date': '', 'x-request-id': '' });
    expect([head?.status, fields(head), head?.body.length]).toEqual([got?.status, fields(got), 0]);
  });

  it('answers programs, scripts of a page and whoever sends what is no form with problem+json as ever', async () => {
    for (const [method, headers] of [['GET', { Accept: 'application/json' }], ['GET', {}], ['GET', { ...BROWSER, 'Sec-Fetch-Mode': 'cors' }], ['POST', BROWSER]] as const) {
      const reply = await ask(pki, portOf(name), '/records', { method, headers });
      expect([reply.headers['content-type'], reply.json()['code']], `${method} ${JSON.stringify(headers)}`).toEqual(['application/problem+json', method === 'POST' ? 'not_found' : 'certificate_required']);
    }
  });
});

it('shows the page over HTTP/2, in Chinese to who reads Chinese', async () => {
  const session = await openHttp2(pki, portOf('fast'), { client: pki.doctor });
  const reply = await askHttp2(session, '/nowhere', { headers: { 'accept': 'text/html', 'accept-language': 'zh-CN,zh;q=0.9' } });
  session.close();
  expect([reply.status, reply.headers['content-type'], Number(reply.headers['content-length'])]).toEqual([404, 'text/html; charset=utf-8', reply.body.length]);
  expect(reply.body.toString()).toMatch(/<html lang="zh-CN">[^]*找不到页面[^]*IT service desk/);
});

it('has a page for every code, in both languages, that says why and what to do', () => {
  const codes: readonly ProblemCode[] = [
    'bad_request', 'certificate_required', 'certificate_rejected', 'role_denied', 'step_up_required', 'invalid_token', 'not_found', 'misdirected', 'rate_limited', 'suspended', 'body_too_large',
    'upstream_unavailable', 'overloaded', 'upstream_timeout', 'request_timeout', 'headers_too_large',
  ];
  for (const code of codes) {
    for (const language of ['en', 'zh'] as const) expect(problemPage(code, 'ID', language, undefined), `${code} ${language}`).toMatch(/<h1>[^<]+<\/h1>\n<p>[^<]+<\/p>\n<ul class="steps">\n<li>[^<]+<\/li>/);
  }
});

it.each([
  [[], false], [['accept', 'text/html'], true], [['Accept', 'TEXT/HTML'], true], [['accept', 'text/html', 'sec-fetch-mode', 'no-cors'], false], [['accept', '*/*'], false],
  // A client of FHIR, one that reads no page, one that would rather have JSON, one that would rather not, and Java's own.
  [['accept', 'application/fhir+json;q=1.0, text/html;q=0.1'], false], [['accept', 'application/json, text/html;q=0'], false], [['accept', 'application/json', 'accept', 'text/html'], false],
  [['accept', 'text/html, application/json;q=0.5'], true], [['accept', 'text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2'], false],
  [['accept', 'text/html, application/xhtml+xml, image/jxr, */*'], true],
])('takes a GET with %j for a browser that wants to show the answer: %s', (fields, expected) => {
  expect(isNavigation({ method: 'GET', fields })).toBe(expected);
  expect(isNavigation({ method: 'HEAD', fields })).toBe(expected);
  expect(isNavigation({ method: 'POST', fields })).toBe(false);
  expect(isNavigation({ method: 'POST', fields: [...fields, 'Content-Type', 'multipart/form-data; boundary=x'] })).toBe(expected);
});

it('refuses a help text that would fill the page', async () => {
  await gateway.configure(configuration(backend.port, { listeners: listener('fast', { listenerExtra: `    help: ${'x'.repeat(501)}\n` }) }));
  await expect(gateway.gateway.reload()).rejects.toThrow(/help: expected at most 500 characters/);
});

describe.skipIf(!chromiumInstalled)('in a real browser', () => {
  // Chromium does not offer a certificate that has ended: whoever has only that one comes without.
  it('tells who has only an expired certificate that it may have ended, and an auditor finds nothing', async () => {
    const origin = `https://localhost:${portOf('fast')}`;
    const chromium = await startChromium(pki, expired, origin);
    try {
      const { page } = chromium;
      await page.goto(`${origin}/records`);
      expect([page.status, await page.evaluate('document.title')]).toEqual([401, 'Your certificate is needed']);
      expect(await page.evaluate('document.body.innerText')).toContain('browsers do not offer certificates that have ended');
      expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true);
      await page.screenshot(join(PICTURES, 'expired.png'));
      expect(await page.violations()).toEqual([]);
      expect(page.complaints.filter((text) => !/status of 40[14]/.test(text))).toEqual([]);
    } finally {
      await chromium.close();
    }
  });
});
