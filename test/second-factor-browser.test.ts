import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { invite, phone } from '../src/cli/factor.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { chromiumInstalled, startChromium, type Chromium, type Page } from './support/chromium.ts';
import { codeAt } from './support/factor.ts';
import { configuration, gatewayDirectory, readRecords } from './support/gateway.ts';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

if (!chromiumInstalled) console.log('skipped: second-factor-browser.test.ts needs chromium and libnss3-tools');

const PICTURES = join(import.meta.dirname, 'artefacts/second-factor');
const PATIENT = { role: 'patient', id: 'urn:patient:1001', who: 'test' };

describe.skipIf(!chromiumInstalled)('a real browser with a client certificate', () => {
  let pki: TestPki;
  let backend: Backend;
  let webhook: Server;
  let directory: string;
  let gateway: Gateway;
  let chromium: Chromium;
  let page: Page;
  let origin: string;
  let secret: string;
  let recovery: readonly string[];
  const messages: string[] = [];

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki, (request, response) => response.setHeader('content-type', 'text/html').end(`<!doctype html><html lang="en"><title>Records</title><h1>Records</h1><p>${request.url}</p></html>`));
    webhook = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key }, (request, response) => {
      let body = '';
      request.on('data', (part: Buffer) => {
        body += part.toString();
      });
      request.on('end', () => {
        messages.push((JSON.parse(body) as { text: string }).text);
        response.end();
      });
    }).listen(0, '127.0.0.1');
    await once(webhook, 'listening');
    directory = await gatewayDirectory(pki);
    for (const name of ['factors.key', 'sms.secret']) await writeFile(join(directory, name), randomBytes(32), { mode: 0o600 });
    await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, {
      routes: '[{ name: mine, match: { path: "/mine/*" }, allow: [patient], upstream: records, require: { second_factor: [totp, sms] } }]',
      top: `second_factor: { key_file: factors.key, totp: { issuer: Hospital }, sms: { url: "https://localhost:${(webhook.address() as AddressInfo).port}/", trust: backend-ca.pem, secret_file: sms.secret, template: "Code {code}" } }`,
    }));
    gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
    origin = `https://localhost:${gateway.listeners[0]?.port}`;
    chromium = await startChromium(pki, pki.patient, origin);
    page = chromium.page;
  });

  afterAll(async () => {
    await chromium?.close();
    await gateway?.stop(0);
    webhook?.close();
    await backend?.close();
    await rm(directory, { recursive: true, force: true });
  });

  const title = (): Promise<string> => page.evaluate<string>('document.title');
  const path = (): Promise<string> => page.evaluate<string>('location.pathname + location.search');

  /** A picture for whoever looks at the pages, and what an auditor's tool finds. */
  async function look(name: string): Promise<void> {
    await page.screenshot(join(PICTURES, `${name}.png`));
    expect(await page.violations(), name).toEqual([]);
  }

  async function invitation(): Promise<string> {
    const printed: string[] = [];
    await invite({ ...PATIENT, config: join(directory, 'wardgate.yaml'), json: true, expires: '1d' }, (text) => printed.push(text));
    return (JSON.parse(printed.join('')) as { code: string }).code;
  }

  it('is told what is missing before it is enrolled', async () => {
    await page.goto(`${origin}/mine/records?page=2`);
    expect(page.status).toBe(401);
    expect(await title()).toBe('A second factor is needed');
    await look('01-not-enrolled');
    await page.click('Set up an authenticator app');
    expect(await path()).toBe('/.wardgate/enrol?lang=en&for=totp.sms&return=%2Fmine%2Frecords%3Fpage%3D2');
  });

  it('enrols with an invitation, a QR code and a first code, and keeps its recovery codes', async () => {
    await page.type('invitation', '0000-0000-0000-0000');
    await page.enter();
    expect([page.status, await title()]).toEqual([403, 'Error: Set up an authenticator app']);
    await look('02-invitation-wrong');
    await page.type('invitation', await invitation());
    await page.enter();
    expect(await title()).toBe('Connect your authenticator app');
    await look('03-qr-code');
    secret = (await page.evaluate<string>('document.querySelector("code").textContent')).replaceAll(' ', '');
    await page.type('code', '000000');
    await page.enter();
    expect(await title()).toBe('Error: Connect your authenticator app');
    await page.type('code', codeAt(secret, Date.now()));
    await page.click('Finish');
    expect(await title()).toBe('Keep your recovery codes');
    recovery = await page.evaluate<string[]>('[...document.querySelectorAll(".codes li")].map((one) => one.textContent)');
    expect(recovery).toHaveLength(10);
    await look('04-recovery-codes');
    await page.click('I have kept them: continue');
    expect([await title(), await path(), page.status]).toEqual(['Records', '/mine/records?page=2', 200]);
  });

  it('holds its session in a cookie that no script and no other site gets', async () => {
    expect(await page.cookies()).toMatchObject([{ name: '__Host-wardgate-session', secure: true, httpOnly: true, sameSite: 'Lax', path: '/', session: true }]);
    expect(await page.evaluate('document.cookie')).toBe('');
  });

  it('signs out, and in again with the next code', async () => {
    await page.goto(`${origin}/.wardgate/session`);
    expect(await title()).toBe('You are signed in');
    await look('05-signed-in');
    const before = (await page.cookies())[0]?.value;
    await page.click('Sign out');
    expect(await title()).toBe('You are signed out');
    await look('06-signed-out');
    await page.goto(`${origin}/mine/records`);
    expect([page.status, await title()]).toEqual([401, 'Confirm that it is you']);
    await look('07-sign-in');
    await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('code');
    const pending = (await page.cookies())[0]?.value;
    await page.type('code', '000000');
    await page.enter();
    await look('08-code-wrong');
    await page.type('code', codeAt(secret, Date.now() + 30_000));
    await page.enter();
    expect([await title(), await path()]).toEqual(['Records', '/mine/records']);
    const after = (await page.cookies())[0]?.value;
    expect(new Set([before, pending, after]).size).toBe(3);
  });

  it('is lent Chinese, and a recovery code works there', async () => {
    await page.goto(`${origin}/.wardgate/session`);
    await page.click('Sign out');
    await page.click('Sign in again');
    await page.click('中文');
    expect(await page.evaluate('document.documentElement.lang')).toBe('zh-CN');
    await look('09-sign-in-zh');
    await page.click('身份验证器不在身边：使用恢复码');
    await look('10-recovery-zh');
    await page.type('recovery', recovery[0] as string);
    await page.enter();
    expect(await title()).toBe('您已登录');
    await look('11-signed-in-zh');
  });

  it('gets a code by text message, which is good with the card number alone', async () => {
    await phone({ ...PATIENT, config: join(directory, 'wardgate.yaml'), phone: '+8613800138000', card: 'H4711' }, () => undefined);
    await page.click('退出登录');
    await page.goto(`${origin}/mine/records`);
    await page.click('Get a code by text message instead');
    await look('12-sms');
    await page.click('Send me a code');
    await look('13-sms-sent');
    const code = /^Code (\d{6})$/.exec(messages.at(-1) as string)?.[1] as string;
    await page.type('code', code);
    await page.type('card', 'wrong');
    await page.enter();
    expect([page.status, await page.evaluate('document.querySelector("[role=alert] p").textContent')]).toEqual([403, 'The code or the card number is not right.']);
    await look('14-sms-wrong');
    await page.type('code', code);
    await page.type('card', 'h-4711');
    await page.enter();
    expect([await title(), await path()]).toEqual(['Records', '/mine/records']);
  });

  it('is locked out after five wrong codes', async () => {
    await page.goto(`${origin}/.wardgate/session`);
    await page.click('Sign out');
    await page.click('Sign in again');
    for (let attempt = 0; attempt < 6; attempt++) {
      await page.type('code', '000000');
      await page.enter();
    }
    expect([page.status, page.headers['retry-after'] !== undefined]).toEqual([429, true]);
    await look('15-locked');
  });

  it('had nothing to complain about but the answers that it was refused', async () => {
    expect(page.complaints.filter((text) => !/the server responded with a status of (401|403|404|429)/.test(text))).toEqual([]);
    const records = await readRecords(join(directory, 'state/audit'));
    expect(records.filter(({ event }) => event === 'second_factor').map(({ reason, detail }) => reason ?? detail)).toContain('locked');
  });
});
