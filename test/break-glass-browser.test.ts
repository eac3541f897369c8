import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createGateway, type Gateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { chromiumInstalled, startChromium, type Chromium, type Page } from './support/chromium.ts';
import { configuration, gatewayDirectory } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

if (!chromiumInstalled) console.log('skipped: break-glass-browser.test.ts needs chromium and libnss3-tools');

const PICTURES = join(import.meta.dirname, 'artefacts/break-glass');

describe.skipIf(!chromiumInstalled)('a nurse with a real browser and a client certificate', () => {
  let pki: TestPki;
  let backend: Backend;
  let directory: string;
  let gateway: Gateway;
  let chromium: Chromium;
  let page: Page;
  let origin: string;

  beforeAll(async () => {
    pki = await testPki();
    const nurse = await pki.issueClient({ subject: [['CN', 'Nurse Li'], ['OU', 'Nurses'], ['O', 'Hospital']] });
    backend = await startBackend(pki, (request, response) => response.setHeader('content-type', 'text/html').end(`<!doctype html><html lang="en"><title>Records</title><h1>Records</h1><p>${request.url}</p></html>`));
    directory = await gatewayDirectory(pki);
    await writeFile(join(directory, 'wardgate.yaml'), configuration(backend.port, {
      roles: '[{ role: doctor, match: { subject: { OU: Doctors } } }, { role: nurse, match: { subject: { OU: Nurses } }, id: "{subject.CN}" }]',
      routes: `
  - { name: records, match: { path: /records/:id }, allow: [doctor], upstream: records, patient: { path: id }, break_glass: { roles: [nurse], reasons: [emergency, mass-casualty] } }
  - { name: beds, match: { path: /beds }, allow: [doctor], upstream: records, break_glass: { roles: [nurse], reasons: [mass-casualty], patient: optional, for: 1h } }`,
    }));
    gateway = await createGateway({ config: join(directory, 'wardgate.yaml') });
    origin = `https://localhost:${gateway.listeners[0]?.port}`;
    chromium = await startChromium(pki, nurse, origin);
    page = chromium.page;
  });

  afterAll(async () => {
    await chromium?.close();
    await gateway?.stop(0);
    await backend?.close();
    await rm(directory, { recursive: true, force: true });
  });

  const title = (): Promise<string> => page.evaluate<string>('document.title');
  const path = (): Promise<string> => page.evaluate<string>('location.pathname + location.search');
  const choose = (id: string, value: string): Promise<unknown> => page.evaluate(`document.getElementById(${JSON.stringify(id)}).value = ${JSON.stringify(value)}`);

  /** A picture for whoever looks at the pages, and what an auditor's tool finds. */
  async function look(name: string): Promise<void> {
    await page.screenshot(join(PICTURES, `${name}.png`));
    expect(await page.violations(), name).toEqual([]);
  }

  it('is shown the form in place of a refusal, and what is wrong with what she writes', async () => {
    await page.goto(`${origin}/records/1001?tab=2`);
    expect([page.status, await title()]).toEqual([403, 'Emergency access']);
    await look('01-refused');
    await choose('reason', 'emergency');
    await page.type('text', 'unconscious\u202e');
    await page.click('Open emergency access');
    expect([page.status, await title(), await page.evaluate('document.querySelector("[aria-invalid]").id')]).toEqual([400, 'Error: Emergency access', 'text']);
    await look('02-text-wrong');
  });

  it('opens one patient for a time, and goes on to where she was going without a header', async () => {
    await page.type('text', 'unconscious, allergies needed');
    await page.click('Open emergency access');
    expect(await title()).toBe('Emergency access is open');
    await look('03-open');
    await page.click('Continue to the service');
    expect([await title(), await path(), page.status]).toEqual(['Records', '/records/1001?tab=2', 200]);
    expect(gateway.grants()).toMatchObject([{ route: 'records', patient: '1001', reason: 'emergency', text: 'unconscious, allergies needed', who: 'Nurse Li', page: true }]);
    await page.goto(`${origin}/records/1002`);
    expect([page.status, await title(), await page.evaluate('document.getElementById("patient").value')]).toEqual([403, 'Emergency access', '1002']);
  });

  it('is lent Chinese, where she opens another service by choosing it, and ends both', async () => {
    await page.click('中文');
    expect(await page.evaluate('document.documentElement.lang')).toBe('zh-CN');
    await page.goto(`${origin}/.wardgate/emergency?lang=zh`);
    await look('04-choose-zh');
    await choose('route', 'beds');
    await choose('reason', 'mass-casualty');
    await page.type('text', '多人受伤，需要空床位');
    await page.click('开放紧急访问');
    expect(await title()).toBe('紧急访问已开放');
    await look('05-open-zh');
    await page.goto(`${origin}/beds`);
    expect(page.status).toBe(200);
    await page.goto(`${origin}/.wardgate/emergency?lang=zh`);
    await page.click('立即结束：beds');
    expect(await title()).toBe('紧急访问已结束');
    await look('06-ended-zh');
    await page.click('立即结束：records，患者 1001');
    await page.goto(`${origin}/records/1001`);
    expect(page.status).toBe(403);
  });

  it('had nothing to complain about but the answers that were refused, and a missing icon', () => {
    expect(page.complaints.filter((text) => !/the server responded with a status of (400|403|404)/.test(text))).toEqual([]);
  });
});
