import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { chromiumInstalled, startChromium, type Chromium, type Page } from './support/chromium.ts';
import { ask, listener, openTls, startGateway, type TestGateway } from './support/gateway.ts';
import { issueCertificate, testPki, type TestPki } from './support/pki.ts';

if (!chromiumInstalled) console.log('skipped: console-browser.test.ts needs chromium and libnss3-tools');

const PICTURES = join(import.meta.dirname, 'artefacts/console');
const VIEWS = ['now', 'certificates', 'revocation', 'upstreams', 'audit', 'alarms', 'reviews'];
const DAY_MS = 86_400_000;

describe.skipIf(!chromiumInstalled)('the console in a real browser with an operator\'s certificate', () => {
  let pki: TestPki;
  let backend: Backend;
  let gateway: TestGateway;
  let chromium: Chromium;
  let page: Page;
  let origin: string;

  beforeAll(async () => {
    pki = await testPki();
    const person = (name: string, unit: string) => pki.issueClient({ subject: [['CN', name], ['OU', unit], ['O', 'Hospital']], eku: ['clientAuth'] });
    const [chen, nurse, sister, ending] = await Promise.all([
      person('Chen Jing', 'Operators'), person('Nurse Li', 'Nurses'), person('Sister Zhao', 'Nurses'), issueCertificate(pki.issuing, { subject: [['CN', 'localhost']], san: { dns: ['localhost'], ip: ['127.0.0.1'] }, eku: ['serverAuth'], notAfter: new Date(Date.now() + 12.5 * DAY_MS) }),
    ]);
    backend = await startBackend(pki);
    gateway = await startGateway(pki, backend.port, {
      files: { 'ops.pem': ending.chain, 'ops.key': ending.key },
      listeners: `${listener('clinical')}${listener('ops', { clientAuth: '{ mode: required, trust: [root.pem], intermediates: [issuing.pem] }' }).replace(/certificates:[\s\S]*?client_auth/, 'certificates: [{ certificate: ops.pem, key: ops.key }]\n    client_auth')}`,
      roles: '[{ role: doctor, match: { subject: { OU: Doctors } } }, { role: nurse, match: { subject: { OU: Nurses } } }, { role: patient, match: { subject: { OU: Patients } } }]',
      routes: '[{ name: records, match: { path: "/records/*" }, allow: [doctor], upstream: records, break_glass: { roles: [nurse], reasons: [emergency], patient: optional, for: 1h } }]',
      upstreams: `
  records: { endpoints: ["https://127.0.0.1:${backend.port}"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal } }
  imaging: { endpoints: ["https://127.0.0.1:1"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key }, health: { interval: 1s, timeout: 1s, path: /healthz } }`,
      top: `
admin: { listener: ops, roles: [{ role: operator, match: { subject: { OU: Operators } } }] }
alarms: { rules: { many_denials: { denials: 5, window: 10m } } }`,
    });
    origin = `https://localhost:${gateway.gateway.listeners[1]?.port}`;
    chromium = await startChromium(pki, chen, origin);
    page = chromium.page;
    await page.resize(1280, 900);
    // Something to show: who is served, who is refused, and an emergency.
    await gateway.gateway.deny({ kind: 'fingerprint', fingerprint: pki.unmapped.sha256, reason: 'badge lost, call 4711', who: 'duty officer' });
    for (let time = 0; time < 6; time++) await ask(pki, gateway.port, '/records/1', { client: time % 3 === 0 ? pki.doctor : pki.patient });
    for (const client of [pki.patient, pki.patient, pki.unmapped, pki.revokedDoctor]) await ask(pki, gateway.port, '/records/2', { client });
    for (const [client, text] of [[nurse, 'unconscious, allergies needed'], [sister, 'seizure, medication needed']] as const) {
      const { status } = await ask(pki, gateway.port, '/records/3', { client, headers: { 'wardgate-emergency-reason': 'emergency', 'wardgate-emergency-text': text } });
      expect(status).toBe(200);
    }
    await gateway.gateway.withdraw(gateway.gateway.grants()[0]?.id ?? '', 'ward sister', 'patient moved');
  });

  afterAll(async () => {
    await chromium?.close();
    await gateway?.stop();
    await backend?.close();
  });

  async function shown(text: string | RegExp): Promise<void> {
    await expect.poll(() => page.evaluate<string>('document.body.innerText')).toMatch(text);
  }

  const go = (view: string): Promise<void> => page.evaluate(`location.hash = '#/${view}'`);
  async function onView(view: string): Promise<void> {
    await expect.poll(() => page.evaluate<string>('document.querySelector("nav [aria-current]")?.dataset.key + " " + (document.querySelector("main .empty, main table, main .card p") !== null)')).toBe(`${view} true`);
  }

  it('revokes a live connection, having said whom that hits and asked why, and the connection dies', async () => {
    const socket = await openTls(pki, gateway.port, { client: pki.doctor });
    socket.write('GET /records/1 HTTP/1.1\r\nhost: localhost\r\n\r\n');
    await once(socket, 'data');
    const closed = once(socket, 'close');
    socket.resume();
    await page.goto(`${origin}/#/certificates`);
    expect(page.status).toBe(200);
    expect(page.headers).toMatchObject({ 'cache-control': 'no-store', 'x-frame-options': 'DENY', 'content-security-policy': expect.stringContaining("script-src 'self'") });
    expect(page.headers['content-security-policy']).not.toContain('unsafe');
    await shown('Dr Wang');
    await page.evaluate('(() => { const one = document.querySelector(\'[aria-label="Revoke Dr Wang"]\'); one.focus(); one.click(); })()');
    await shown(/ends one open connection at once/);
    await page.screenshot(join(PICTURES, 'revoke.png'), 'window');
    expect(await page.violations()).toEqual([]);
    await page.press('Revoke');
    await shown('Say why.');
    expect(socket.destroyed).toBe(false);
    await page.type('dialog-reason', 'laptop stolen, call 4712');
    await page.press('Revoke');
    await closed;
    await shown('Revoked; its connections have ended.');
    // The button is gone with its row: whoever has no mouse goes on in the view.
    await expect.poll(() => page.evaluate<string>('document.activeElement.id')).toBe('main');
    expect((await gateway.records()).filter(({ event }) => event === 'revocation').at(-1)).toMatchObject({ who: 'Chen Jing', fingerprint: pki.doctor.sha256, detail: 'denied: laptop stolen, call 4712' });
    expect((await ask(pki, gateway.port, '/records/1', { client: pki.doctor })).status).toBe(403);
    expect(page.complaints).toEqual([]);
    await go('revocation');
    await shown(/CN=Dr Wang,OU=Doctors,O=Hospital\s+[0-9a-f]{64}/);
  });

  it('asks again before it revokes the own certificate', async () => {
    await go('certificates');
    const button = 'document.querySelector(\'[aria-label="Revoke Chen Jing"]\')';
    await expect.poll(() => page.evaluate(`${button} !== null`)).toBe(true);
    await page.evaluate(`${button}.click()`);
    await shown('Revoke Chen Jing?');
    await page.type('dialog-reason', 'by mistake');
    await page.press('Revoke');
    await shown('This is your own certificate');
    await page.press('Cancel');
    expect((await gateway.records()).filter(({ event, detail }) => event === 'revocation' && String(detail).includes('by mistake'))).toEqual([]);
  });

  it('explains a denial on record by the gateway\'s own code, in one click', async () => {
    await go('audit?find=role_denied');
    await onView('audit');
    await expect.poll(() => page.evaluate<number>('document.querySelectorAll("main tbody tr").length')).toBeGreaterThan(2);
    await page.evaluate('(() => { const one = document.querySelector(\'[aria-label^="Explain role_denied"]\'); one.focus(); one.click(); })()');
    await shown(/the route does not allow the role patient/);
    expect(await page.evaluate<string>('document.querySelector("dialog").innerText')).toContain('CN=Hospital Issuing CA');
    await page.screenshot(join(PICTURES, 'explain.png'), 'window');
    expect(await page.violations()).toEqual([]);
    await page.press('Close');
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Explain');
  });

  it('is live: what happens shows without a reload', async () => {
    await go('now');
    await onView('now');
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    await expect.poll(() => page.evaluate<string>('document.querySelector("main .card:nth-of-type(1)") && document.querySelector("main").innerText')).toContain('patient');
    socket.destroy();
  });

  it.each(['light', 'dark'] as const)('has nothing that axe-core finds wrong in any view, %s', async (scheme) => {
    await page.prefer(scheme);
    for (const view of VIEWS) {
      await go(view);
      await onView(view);
      expect(await page.violations(), view).toEqual([]);
      await page.screenshot(join(PICTURES, `${view}-${scheme}.png`));
    }
    // The one is what asked for the second confirmation of who would revoke his own certificate.
    expect(page.complaints.filter((text) => !text.includes('the server responded with a status of 409'))).toEqual([]);
  });

  it('needs no scrolling to the side at 400 %, in Chinese as well', async () => {
    await page.prefer('light');
    await page.resize(320, 720);
    await page.evaluate('localStorage.setItem("wardgate.language", "zh")');
    await page.goto(`${origin}/?zh#/now`);
    await shown('打开的连接');
    expect(await page.evaluate('document.documentElement.lang')).toBe('zh-CN');
    for (const view of VIEWS) {
      await go(view);
      await onView(view);
      expect(await page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth'), view).toBe(0);
      expect(await page.violations(), view).toEqual([]);
    }
    await page.screenshot(join(PICTURES, 'narrow-zh.png'));
  });

  it('lets a direction mark in a name (U+202E) turn round no text beside it', async () => {
    await page.goto(`${origin}/#/revocation`);
    await onView('revocation');
    await expect.poll(() => page.evaluate<string>('[...new Set([...document.querySelectorAll("td, td > *, dd, dd > *, code")].map((one) => getComputedStyle(one).unicodeBidi))].join()')).toBe('isolate');
  });

  it('says when the gateway is gone', async () => {
    await page.evaluate('localStorage.removeItem("wardgate.language")');
    await page.resize(1280, 900);
    await page.goto(`${origin}/?gone#/now`);
    await shown('Open connections');
    await gateway.gateway.stop(0);
    await shown('The gateway does not answer');
  });
});
