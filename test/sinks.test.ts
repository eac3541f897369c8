import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../src/config/load.ts';
import { createSafeBoard } from '../src/audit/board.ts';
import { readPositions } from '../src/audit/positions.ts';
import { openAuditWriter } from '../src/audit/writer.ts';
import { loadSnapshot } from '../src/config/snapshot.ts';
import { createDispatch } from '../src/dispatch.ts';
import { SILENT } from '../src/log.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { ask, configuration, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let feed: Worker | undefined;
const born = (worker: Worker): void => {
  if (worker.threadName === 'feed') feed = worker;
};

const ONE = 'audit: { sinks: [{ name: one, kind: file, file: one.jsonl }] }';
const TWO = 'audit: { sinks: [{ name: two, kind: file, file: two.jsonl }] }';
const METRICS = 'metrics: { address: 127.0.0.1:0 }';

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  process.on('worker', born);
  gateway = await startGateway(pki, backend.port, { top: `${ONE}\n${METRICS}` });
});

afterAll(async () => {
  process.off('worker', born);
  await gateway.stop();
  await backend.close();
});

interface Line {
  readonly event: string;
  readonly request_id?: string;
  readonly detail?: string;
}

function lines(file: string): readonly Line[] {
  const path = gateway.path(file);
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as Line) : [];
}

function requests(file: string): readonly (string | undefined)[] {
  return lines(file).filter(({ event }) => event === 'request').map(({ request_id: id }) => id);
}

async function records(): Promise<string> {
  const reply = await ask(pki, gateway.port, '/records', { client: pki.doctor });
  return String(reply.headers['x-request-id'] ?? '');
}

describe('sinks of a gateway', () => {
  test('get every record from the start of the gateway on', async () => {
    await records();
    await expect.poll(() => lines('one.jsonl').map(({ event }) => event).sort()).toEqual(['request', 'start']);
  });

  test('come and go with a reload; what a sink has missed meanwhile it gets when it is back', async () => {
    await expect.poll(async () => (await gateway.gateway.status()).audit.feed?.consumers.map(({ lag }) => lag.records)).toEqual([0]);
    await gateway.configure(configuration(backend.port, { top: `${TWO}\n${METRICS}` }));
    await gateway.gateway.reload();
    await expect.poll(async () => (await gateway.gateway.status()).audit.feed?.consumers.map(({ name }) => name)).toEqual(['two']);
    const before = requests('one.jsonl').length;
    await records();
    await expect.poll(() => requests('two.jsonl').length).toBe(1);
    expect(requests('one.jsonl').length).toBe(before);
    await gateway.configure(configuration(backend.port, { top: `${ONE}\n${METRICS}` }));
    await gateway.gateway.reload();
    await expect.poll(() => requests('one.jsonl').length).toBe(before + 1);
    expect(requests('one.jsonl').at(-1)).toBe(requests('two.jsonl').at(-1));
  });

  test('are served on when the thread that hands records out dies: the gateway serves, and nothing is lost or repeated', async () => {
    const before = requests('one.jsonl').length;
    // What stands in the file and is not known to be safe there is handed out again.
    await expect.poll(async () => (await gateway.gateway.status()).audit.feed?.consumers.map(({ lag }) => lag.records)).toEqual([0]);
    await feed?.terminate();
    await records();
    await expect.poll(() => requests('one.jsonl').length).toBe(before + 1);
    await expect.poll(async () => (await gateway.gateway.status()).audit.feed).toMatchObject({ up: true, restarts: 1 });
  });

  test('are listed with their lag; the position of one that is gone is kept until it is forgotten', async () => {
    const config = ['-c', gateway.path('wardgate.yaml')];
    await expect.poll(async () => (await wardgate(['audit', 'sinks', ...config])).stdout).toMatch(/^one: has everything\ntwo: \d+ records behind, the oldest \d+ s old, is handed nothing at the moment\n$/);
    expect(await wardgate(['audit', 'sinks', 'forget', 'one', ...config])).toMatchObject({ code: 1, stderr: expect.stringContaining('one is configured') as string });
    expect(await wardgate(['audit', 'sinks', 'forget', 'two', ...config])).toMatchObject({ code: 0 });
    expect(JSON.parse((await wardgate(['audit', 'sinks', '--json', ...config])).stdout)).toMatchObject([{ name: 'one', fed: true, lag: { records: 0 } }]);
  });

  test('are in the status and the metrics', async () => {
    await expect.poll(async () => (await gateway.gateway.status()).audit.feed).toMatchObject({ up: true, restarts: 1, consumers: [{ name: 'one', lag: { records: 0 } }] });
    const text = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    expect(text).toContain('wardgate_sink_lag_records{sink="one"} 0');
    expect(text).toContain('wardgate_feed_up 1');
  });
});

describe('a configuration with sinks', () => {
  const faults = (audit: string): readonly string[] => {
    const parsed = parseConfig(`listeners: [{ name: plain, protocol: redirect, address: "127.0.0.1:8080" }]\naudit: ${audit}`, 'wardgate.yaml');
    return parsed.kind === 'invalid' ? parsed.issues.map(({ path, message }) => `${path}: ${message}`) : [];
  };

  test.each([
    ['{ sinks: [{ name: a, kind: file, file: a }, { name: a, kind: file, file: b }] }', 'audit.sinks[1].name: the name "a" is taken by audit.sinks[0]'],
    ['{ sinks: [{ name: alarms, kind: file, file: a }] }', 'audit.sinks[0].name: the name "alarms" is the gateway\'s own'],
    ['{ sinks: [{ name: a, kind: syslog, receiver: siem, tls: { trust: ca.pem, key: a.key } }] }', 'audit.sinks[0].tls.key: expected its certificate beside it, in tls.certificate'],
    ['{ sinks: [{ name: a, kind: fhir, url: "http://arr/fhir", tls: { trust: ca.pem } }] }', 'audit.sinks[0].url: expected a URL such as https://sms.hospital.test/send; got "http://arr/fhir"'],
    ['{ anchor: {} }', 'audit.anchor: expected where checkpoints are put: file, syslog or both'],
  ])('%s is refused', (audit, fault) => {
    expect(faults(audit)).toEqual([fault]);
  });
});

test('where a sink begins is on the disk before the gateway serves: a kill at once takes nothing from it', async () => {
  const loaded = await loadSnapshot(gateway.path('wardgate.yaml'), { now: Date.now() });
  if (loaded.kind === 'invalid') throw new Error('the configuration is good');
  const state = await mkdtemp(join(tmpdir(), 'wardgate-sinks-'));
  const audit = join(state, 'audit');
  const board = createSafeBoard(2);
  const writer = openAuditWriter({ directory: audit, gateway: 'g', start: 1, after: 'a', durability: 'write', board: board.buffer, place: 0 }, 'main', Date.parse('2026-11-22T10:00:00Z'));
  const dispatch = createDispatch({ directory: audit, state, board, log: SILENT, raised: () => undefined });
  await dispatch.adopt(loaded.snapshot);
  // Its thread cannot have begun yet.
  const [position] = readPositions(join(state, 'feed'));
  expect(position).toMatchObject({ name: 'one', segments: new Map(), done: new Set() });
  await dispatch.close();
  writer.close();
  await rm(state, { recursive: true });
});
