import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readTail } from '../src/audit/tail.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki } from './support/pki.ts';

let backend: Backend;
let gateway: TestGateway;
const copies: string[] = [];
const LOOK = { octets: 64 * 1024, segments: 8, most: 50, wanted: () => true };

beforeAll(async () => {
  const pki = await testPki();
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port, { threads: 1 });
  for (let time = 0; time < 5; time++) await ask(pki, gateway.port, '/records', { client: pki.doctor });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
  for (const copy of copies) rmSync(copy, { recursive: true, force: true });
});

function copied(change: (text: string) => string): string {
  const directory = mkdtempSync(join(tmpdir(), 'wardgate-tail-'));
  copies.push(directory);
  cpSync(gateway.path('state/audit'), directory, { recursive: true });
  for (const name of readdirSync(directory).filter((one) => one.endsWith('.jsonl'))) writeFileSync(join(directory, name), change(readFileSync(join(directory, name), 'utf8')));
  return directory;
}

describe('the end of the audit', () => {
  test('is read newest first, each line held to the one before, however little of it is read', async () => {
    const directory = gateway.path('state/audit');
    const { records, chain } = await readTail({ directory, ...LOOK });
    expect(records.filter(({ event }) => event === 'request')).toHaveLength(5);
    expect(records.map(({ time }) => time)).toEqual(records.map(({ time }) => time).sort().reverse());
    expect(chain).toMatchObject({ checkpoint: { signed: true } });
    expect(chain.broken).toBeUndefined();
    const short = await readTail({ directory, ...LOOK, octets: 2_500 });
    expect(short.records.length).toBeGreaterThan(0);
    expect(short.chain.broken).toBeUndefined();
  });

  test('shows the line that was changed, and a line that was left out', async () => {
    expect((await readTail({ directory: copied((text) => text.replace('"status":200', '"status":403')), ...LOOK })).chain.broken).toMatchObject({ seq: expect.any(Number) });
    expect((await readTail({ directory: copied((text) => text.split('\n').filter((_, index) => index !== 3).join('\n')), ...LOOK })).chain.broken).toMatchObject({ seq: 4 });
  });

  test('takes half a line for one that is not there yet', async () => {
    const { records, chain } = await readTail({ directory: copied((text) => `${text}{"time":"2026`), ...LOOK });
    expect(chain.broken).toBeUndefined();
    expect(records.filter(({ event }) => event === 'request')).toHaveLength(5);
  });
});
