import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { invite, reset, status } from '../src/cli/factor.ts';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { chromiumInstalled, startChromium, type Chromium, type Page } from './support/chromium.ts';
import { codeAt } from './support/factor.ts';
import { configuration, gatewayDirectory, readRecords } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

if (!chromiumInstalled) console.log('skipped: security-keys-browser.test.ts needs chromium and libnss3-tools');

const PICTURES = join(import.meta.dirname, 'artefacts/security-keys');
const PATIENT = { role: 'patient', id: 'urn:patient:1001', who: 'test' };

describe.skipIf(!chromiumInstalled)('a real browser with a client certificate and a security key', () => {
  let pki: TestPki;
  let backend: Backend;
  let directory: string;
  let gateway: Gateway;
  let chromium: Chromium;
  let page: Page;
  let origin: string;
  let key: Awaited<ReturnType<Page['addSecurityKey']>>;

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki, (request, response) => response.setHeader('content-type', 'text/html').end(`<!doctype html><html lang="en"><title>Records</title><h1>Records</h1><p>${request.url}</p></html>`));
    directory = await gatewayDirectory(pki);
    await writeFile(join(directory, 'factors.key'), randomBytes(32), { mode: 0o600 });
    await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, {
      routes: '[{ name: mine, match: { path: "/mine/*" }, allow: [patient], upstream: records, require: { second_factor: [totp, webauthn] } }, { name: keyed, match: { path: "/keyed" }, allow: [patient], upstream: records, require: { second_factor: webauthn } }]',
      top: 'second_factor: { key_file: factors.key, totp: { issuer: Hospital } }',
    }));
    gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
    origin = `https://localhost:${gateway.listeners[0]?.port}`;
    chromium = await startChromium(pki, pki.patient, origin);
    page = chromium.page;
    key = await page.addSecurityKey();
  });

  afterAll(async () => {
    await chromium?.close();
    await gateway?.stop(0);
    await backend?.close();
    await rm(directory, { recursive: true, force: true });
  });

  const title = (): Promise<string> => page.evaluate<string>('document.title');
  const path = (): Promise<string> => page.evaluate<string>('location.pathname + location.search');
  const told = (): Promise<string> => page.evaluate<string>('document.getElementById("key-told").textContent');
  const config = (): string => join(directory, 'wardgate.yaml');

  /** A picture for whoever looks at the pages, and what an auditor's tool finds. */
  async function look(name: string): Promise<void> {
    await page.screenshot(join(PICTURES, `${name}.png`));
    expect(await page.violations(), name).toEqual([]);
  }

  async function printed(run: (print: (text: string) => void) => Promise<number>): Promise<string> {
    const lines: string[] = [];
    await run((text) => lines.push(text));
    return lines.join('\n');
  }

  const invitation = async (): Promise<string> => (JSON.parse(await printed((print) => invite({ ...PATIENT, config: config(), json: true, expires: '1d' }, print))) as { code: string }).code;

  it('enrols a key with an invitation, names it, and goes on to where it came from', async () => {
    await page.goto(`${origin}/mine/records?page=2`);
    expect([page.status, await title()]).toEqual([401, 'A second factor is needed']);
    await look('01-not-enrolled');
    await page.click('Set up a second factor');
    await look('02-invitation');
    await page.type('invitation', await invitation());
    await page.enter();
    expect(await title()).toBe('Set up a security key or passkey');
    await look('03-set-up');
    await page.type('name', 'blue key');
    await page.click('Set up the key');
    expect([page.status, await title(), await path()]).toEqual([200, 'Records', '/mine/records?page=2']);
    expect(await key.credentials()).toMatchObject([{ rpId: 'localhost' }]);
    expect(await printed((print) => status({ ...PATIENT, config: config() }, print))).toMatch(/^patient urn:patient:1001: since .*, one security key\n {2}"blue key": for localhost, since .*, not used since, counter 1$/);
  });

  it('signs in with it, under another session each time', async () => {
    const before = (await page.cookies())[0]?.value;
    await page.goto(`${origin}/.wardgate/session`);
    await page.click('Sign out');
    await page.goto(`${origin}/keyed?a=1`);
    expect([page.status, await title()]).toEqual([401, 'Confirm that it is you']);
    await expect.poll(() => page.evaluate('document.getElementById("key-form").hidden')).toBe(false);
    await look('04-sign-in');
    await page.click('Use my security key or passkey');
    expect([page.status, await title(), await path()]).toEqual([200, 'Records', '/keyed?a=1']);
    expect((await page.cookies())[0]?.value).not.toBe(before);
  });

  it('says so where the key does not know who uses it, and goes on with the next try', async () => {
    await page.goto(`${origin}/.wardgate/session`);
    await page.click('Sign out');
    await page.click('Sign in again');
    await key.verifies(false);
    await page.press('Use my security key or passkey');
    await expect.poll(told).toBe('The key was not used. Try again, or use another way.');
    await look('05-not-used');
    await key.verifies(true);
    await page.click('Use my security key or passkey');
    expect(await title()).toBe('You are signed in');
    await look('06-signed-in');
  });

  it('is told that a key is set up already', async () => {
    await page.goto(`${origin}/.wardgate/enrol`);
    await page.type('invitation', await invitation());
    await page.enter();
    await page.press('Set up the key');
    await expect.poll(told).toBe('This key is set up already. Use another one.');
    await look('07-known');
  });

  it('sets up an authenticator app beside it with the same invitation, which works without scripts', async () => {
    await page.click('Set up an authenticator app instead');
    const secret = (await page.evaluate<string>('document.querySelector("code").textContent')).replaceAll(' ', '');
    await page.type('code', codeAt(secret, Date.now()));
    await page.click('Finish');
    expect(await title()).toBe('Keep your recovery codes');
    await page.goto(`${origin}/.wardgate/session`);
    await page.click('Sign out');
    await page.allowScripts(false);
    await page.goto(`${origin}/mine/records`);
    await page.screenshot(join(PICTURES, '08-without-scripts.png'));
    await page.allowScripts(true);
    expect(await page.evaluate('document.getElementById("key-form").hidden')).toBe(true);
    expect(await page.evaluate('document.body.innerText')).toContain('JavaScript');
    await page.click('Use your authenticator app instead');
    await look('09-authenticator-app');
    await page.type('code', codeAt(secret, Date.now() + 30_000));
    await page.enter();
    expect([await title(), await path()]).toEqual(['Records', '/mine/records']);
  });

  it('is asked for the key where a route takes nothing else, in Chinese where that is wanted', async () => {
    await page.goto(`${origin}/keyed`);
    expect([page.status, await title()]).toEqual([401, 'Confirm that it is you']);
    await page.click('中文');
    expect(await page.evaluate('document.documentElement.lang')).toBe('zh-CN');
    await look('10-sign-in-zh');
    await page.click('使用我的安全密钥或通行密钥');
    expect([page.status, await title(), await path()]).toEqual([200, 'Records', '/keyed']);
    await page.goto(`${origin}/.wardgate/enrol?lang=zh`);
    await page.type('invitation', await invitation());
    await page.enter();
    expect(await title()).toBe('设置安全密钥或通行密钥');
    await look('11-set-up-zh');
  });

  it('has its key taken away by staff, by its name', async () => {
    expect(await printed((print) => reset({ ...PATIENT, config: config(), key: 'blue key' }, print))).toMatch(/^forgot the security key "blue key" of patient urn:patient:1001; ended \d+ sessions?$/);
    await page.goto(`${origin}/keyed`);
    expect(page.status).toBe(401);
    expect(await page.evaluate('document.getElementById("key-form")')).toBeNull();
  });

  it('had nothing to complain about but the answers that it was refused', async () => {
    expect(page.complaints.filter((text) => !/the server responded with a status of (401|403|404)/.test(text))).toEqual([]);
    const records = await readRecords(join(directory, 'state/audit'));
    expect(records.filter(({ event, factor }) => event === 'second_factor' && factor === 'webauthn').map(({ result }) => result)).toEqual(['done', 'done', 'done', 'done']);
  });
});
