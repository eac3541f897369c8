import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Verdict } from '../src/audit/verify.ts';
import { verifyCommand } from '../src/cli/audit.ts';
import { createGateway } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
});

afterAll(() => backend.close());

const ANCHORED = { top: 'audit: { anchor: { file: anchors.ndjson } }' };

async function verified(gateway: TestGateway, ...more: readonly string[]): Promise<{ readonly code: number | null; readonly verdict: Verdict }> {
  const [key] = more;
  let text = '';
  const code = await verifyCommand(undefined, { config: gateway.path('wardgate.yaml'), json: true, ...(key === undefined ? {} : { key }) }, (line) => void (text += line));
  return { code, verdict: JSON.parse(text) as Verdict };
}

async function load(gateway: TestGateway, requests: number): Promise<void> {
  for (let request = 0; request < requests; request++) expect((await ask(pki, gateway.port, `/echo/${request}`, { client: pki.doctor })).status).toBe(200);
}

describe('wardgate audit', () => {
  it('verifies what a running gateway has written, and names the record that somebody edited', async () => {
    const gateway = await startGateway(pki, backend.port, ANCHORED);
    await load(gateway, 12);
    const { stdout: pem } = await wardgate(['audit', 'key', '-c', gateway.path('wardgate.yaml')]);
    await writeFile(gateway.path('kept.pem'), pem);
    const whole = await verified(gateway, gateway.path('kept.pem'));
    expect(whole.code).toBe(0);
    expect(whole.verdict).toMatchObject({ whole: true, segments: 3, unanchored: 13, notes: [] });
    await gateway.gateway.stop(0);
    const stopped = await verified(gateway, gateway.path('kept.pem'));
    expect(stopped.verdict).toMatchObject({ whole: true, records: 14, unanchored: 0 });

    const audit = gateway.path('state/audit');
    for (const name of (await readdir(audit)).filter((file) => /-t\d\.jsonl$/.test(file))) {
      const text = await readFile(join(audit, name), 'utf8');
      await writeFile(join(audit, name), text.replace('"path":"/echo/7"', '"path":"/echo/8"'));
    }
    const { code, stdout } = await wardgate(['audit', 'verify', '-c', gateway.path('wardgate.yaml')]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^NOT WHOLE: \S+-t\d\.jsonl:\d+ record \d+: edited: its content does not match its hash/);
    await rm(gateway.directory, { recursive: true });
  });

  it('exports what was asked for, as something that verifies by itself', async () => {
    const gateway = await startGateway(pki, backend.port, ANCHORED);
    await load(gateway, 6);
    const everything = await wardgate(['audit', 'export', '-c', gateway.path('wardgate.yaml')]);
    await writeFile(gateway.path('all.ndjson'), everything.stdout);
    expect((await wardgate(['audit', 'verify', gateway.path('all.ndjson')])).stdout).toMatch(/^whole: 8 records in 3 segments/);
    const some = await wardgate(['audit', 'export', '-c', gateway.path('wardgate.yaml'), '--route', 'echo', '--serial', pki.doctor.serialHex.toUpperCase(), '--from', '2020-01-01']);
    await writeFile(gateway.path('some.ndjson'), some.stdout);
    expect((await wardgate(['audit', 'verify', gateway.path('some.ndjson')])).stdout).toMatch(/^whole: 7 records[^]*note: a filtered export/);
    // Date.parse takes the first for 2 March, the next two for years of its own choosing, and the last two for times of the machine's zone.
    for (const time of ['2026-02-30', '1', 'ward 7', '03/04/2026', '2026-11-22T08:00', '2026-11-22 08:00', 'yesterday']) {
      expect(await wardgate(['audit', 'export', '-c', gateway.path('wardgate.yaml'), '--from', time])).toMatchObject({ code: 2, stderr: expect.stringContaining('--from: expected a time') as string });
    }
    for (const command of [['audit', 'export'], ['audit', 'hold', 'add', '--reason', 'x'], ['seal', '--case', 'x', '--out', gateway.path('empty.sealed')]]) {
      expect(await wardgate([...command, '-c', gateway.path('wardgate.yaml'), '--from', '2026-11-22T08:00+08:00', '--to', '2026-11-22'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--from: must be before --to') as string });
    }
    expect(await wardgate(['seal', '--case', ' ', '--out', gateway.path('blank.sealed'), '-c', gateway.path('wardgate.yaml')])).toMatchObject({ code: 2, stderr: expect.stringContaining('--case: what is it for?') as string });
    await gateway.stop();
  });
});

describe('the audit of a gateway', () => {
  it('stays whole over starts, each of which is on record as its stop is, the segments of all of them in one register', async () => {
    const first = await startGateway(pki, backend.port, ANCHORED);
    await load(first, 5);
    await first.gateway.stop(0);
    const again = await createGateway({ config: first.path('wardgate.yaml') });
    await again.stop(0);
    const { verdict } = await verified(first);
    expect(verdict).toMatchObject({ whole: true, segments: 6, unanchored: 0 });
    const told = (await first.records()).filter(({ event }) => event === 'start' || event === 'stop').map(({ time, event, result }) => [String(time), event, result] as const).sort(([a], [b]) => (a < b ? -1 : 1));
    expect(told.map(([, ...what]) => what)).toEqual([['start', 'done'], ['stop', 'done'], ['start', 'done'], ['stop', 'done']]);
    await rm(first.directory, { recursive: true });
  });

  it('stays whole when a thread dies: its segment is closed, and its replacement has one of its own', async () => {
    const workers: Worker[] = [];
    const born = (worker: Worker): void => void workers.push(worker);
    process.on('worker', born);
    const gateway = await startGateway(pki, backend.port, ANCHORED);
    await load(gateway, 8);
    await workers.find(({ threadName }) => threadName?.startsWith('wardgate-'))?.terminate();
    await expect.poll(async () => (await readdir(gateway.path('state/audit'))).filter((name) => name.endsWith('-t2.jsonl')).length, { timeout: 20_000 }).toBe(1);
    process.off('worker', born);
    await expect.poll(() => readFile(gateway.path('state/audit/checkpoints.ndjson'), 'utf8'), { timeout: 20_000 }).toContain('-t2.jsonl');
    expect((await verified(gateway)).verdict).toMatchObject({ whole: true, segments: 4 });
    await gateway.gateway.stop(0);
    expect((await verified(gateway)).verdict).toMatchObject({ whole: true, segments: 4, unanchored: 0 });
    await rm(gateway.directory, { recursive: true });
  });
});

describe('an audit that cannot be written', () => {
  it('grants nothing, and /readyz says why', async () => {
    const gateway = await startGateway(pki, backend.port, { top: 'metrics: { address: 127.0.0.1:0 }', threads: 1 });
    await load(gateway, 1);
    const before = backend.seen.length;
    const page = (name: string): Promise<Response> => fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/${name}`);
    const measured = async (): Promise<string | undefined> => /^wardgate_ready (\d)$/m.exec(await (await page('metrics')).text())?.[1];
    expect([(await page('readyz')).status, await measured()]).toEqual([200, '1']);
    for (const file of await readdir(gateway.path('state/audit'))) await rm(gateway.path(`state/audit/${file}`));
    // The first finds out when its answer has come, and is cut; those behind it do not come so far.
    await expect(ask(pki, gateway.port, '/echo/x', { client: pki.doctor })).rejects.toThrow();
    for (let round = 0; round < 3; round++) expect((await ask(pki, gateway.port, '/echo/x', { client: pki.doctor })).json()).toMatchObject({ status: 503 });
    expect(backend.seen.length - before).toBe(1);
    expect((await ask(pki, gateway.port, '/records', { client: pki.patient })).status).not.toBe(200);
    const told = await page('readyz');
    expect([told.status, await told.text(), await measured()]).toEqual([503, expect.stringMatching(/^audit: /), '0']);
    await gateway.stop();
  });

  it('with failing: serve keeps from clients what is phi and nothing else, by HTTP/1.1 and HTTP/2', async () => {
    const gateway = await startGateway(pki, backend.port, { top: 'audit: { failing: serve }', threads: 1 });
    await load(gateway, 1);
    for (const file of await readdir(gateway.path('state/audit'))) await rm(gateway.path(`state/audit/${file}`));
    const session = await openHttp2(pki, gateway.port, { client: pki.doctor });
    for (let round = 0; round < 3; round++) {
      expect((await ask(pki, gateway.port, '/echo/x', { client: pki.doctor })).status).toBe(200);
      expect((await askHttp2(session, '/echo/x')).status).toBe(200);
      expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(503);
      expect((await askHttp2(session, '/records')).status).toBe(503);
    }
    expect((await gateway.gateway.status()).audit.failing).not.toEqual([]);
    session.destroy();
    await gateway.stop();
  });
});
