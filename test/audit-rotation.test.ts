import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openEvidence } from '../src/audit/evidence.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { openRegister, type Register } from '../src/audit/register.ts';
import { readAnchor, verifyAudit, type Verdict } from '../src/audit/verify.ts';
import { openAuditWriter, type AuditWriter } from '../src/audit/writer.ts';
import { keepCheckpoints, type Checkpoints } from '../src/checkpoints.ts';
import { SILENT } from '../src/log.ts';
import { startBackend } from './support/backend.ts';
import { ask, readRecords, startGateway } from './support/gateway.ts';
import { testPki } from './support/pki.ts';

let root: string;
let audit: string;
let clock: number;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wardgate-rotation-'));
  audit = join(root, 'audit');
  clock = Date.parse('2026-11-22T23:59:00Z');
});

afterEach(() => rm(root, { recursive: true, force: true }));

function record(number: number): AuditRecord {
  return { time: new Date(clock).toISOString(), event: 'request', result: 'permitted', request_id: `id-${number}` };
}

function open(): Register {
  return openRegister({ directory: audit, state: root, anchor: undefined, now: () => clock, warn: (detail) => expect.fail(detail) });
}

function writerOn(register: Pick<Register, 'ground'>, durability: 'write' | 'fsync' = 'write'): AuditWriter {
  return openAuditWriter({ ...register.ground(), directory: audit, durability }, 'main', clock);
}

function verify(directory = audit): Verdict {
  const evidence = openEvidence(directory);
  try {
    return verifyAudit({ evidence });
  } finally {
    evidence.close();
  }
}

const segments = async (): Promise<readonly string[]> => (await readdir(audit)).filter((name) => name.endsWith('.jsonl')).sort();
const ids = async (): Promise<readonly unknown[]> => (await readRecords(audit)).map((one) => one['request_id']);

/** A gateway's checkpoints with the main thread's writer alone. */
async function checkpointsOf(rotate: { readonly size: number; readonly daily: boolean }): Promise<{ readonly checkpoints: Checkpoints; readonly writer: AuditWriter }> {
  const checkpoints = keepCheckpoints({ directory: audit, state: root, anchor: undefined, every: 10, rotate, retention: 1, compress: false, now: () => clock, log: SILENT, threads: async () => [] });
  const writer = writerOn(checkpoints);
  await checkpoints.start(writer);
  return { checkpoints, writer };
}

describe('rotation of the audit', () => {
  it('closes segments that have grown large under load, loses no record, and stays whole', async () => {
    const pki = await testPki();
    const backend = await startBackend(pki);
    const gateway = await startGateway(pki, backend.port, { top: 'audit: { checkpoint: 20ms, rotate: { size: 4KiB }, anchor: { file: anchors.ndjson } }' });
    const directory = gateway.path('state/audit');
    const agent = new Agent({ keepAlive: true });
    const answered: string[] = [];
    let going = true;
    const clients = Array.from({ length: 6 }, async () => {
      while (going) answered.push(String((await ask(pki, gateway.port, '/echo/x', { client: pki.doctor, agent })).headers['x-request-id']));
    });
    await expect.poll(async () => (await readdir(directory)).filter((name) => /-t\d\.jsonl/.test(name)).length, { timeout: 45_000 }).toBeGreaterThan(8);
    going = false;
    await Promise.all(clients);
    const verdictBeside = verify(directory);
    await gateway.gateway.stop(0);
    const recorded = (await readRecords(directory)).map((one) => one['request_id']).filter((id) => id !== undefined);
    const evidence = openEvidence(directory);
    const verdict = verifyAudit({ evidence, anchor: readAnchor(gateway.path('anchors.ndjson')) });
    agent.destroy();
    await gateway.stop();
    await backend.close();
    expect(verdictBeside.bad).toBeUndefined();
    expect([...recorded].sort()).toEqual([...answered].sort());
    expect(verdict).toMatchObject({ whole: true, unanchored: 0 });
  });

  it('closes a segment at midnight when there is anything in it', async () => {
    const { checkpoints, writer } = await checkpointsOf({ size: 1 << 30, daily: true });
    await writer.append(record(1));
    clock += 60_000;
    await expect.poll(async () => (await readFile(join(audit, 'checkpoints.ndjson'), 'utf8')).includes('"closed"')).toBe(true);
    clock += 86_400_000;
    await writer.append(record(2));
    clock += 10_000;
    writer.close();
    await checkpoints.close();
    const names = await segments();
    expect(names.map((name) => name.slice(0, 8))).toEqual(['20261122', '20261123', '20261124'].slice(0, names.length));
    expect(await ids()).toEqual(['id-1', 'id-2']);
    expect(verify()).toMatchObject({ whole: true, unanchored: 0 });
  });

  it('leaves segments alone over midnight when that is switched off, and empty ones always', async () => {
    const { checkpoints, writer } = await checkpointsOf({ size: 1, daily: false });
    clock += 86_400_000;
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await segments()).toHaveLength(1);
    await writer.append(record(1));
    await expect.poll(segments).toHaveLength(2);
    writer.close();
    await checkpoints.close();
    expect(verify()).toMatchObject({ whole: true, records: 1, segments: 2 });
  });

  it.each(['write', 'fsync'] as const)('makes nothing wait: what was on its way with durability %s is in the old segment, what comes next in the new one', async (durability) => {
    const register = open();
    const writer = writerOn(register, durability);
    register.checkpoint((await writer.positions()).segments);
    const first = writer.current();
    const before = Array.from({ length: 20 }, (_, number) => writer.append(record(number)));
    clock += 1;
    writer.prepare(register.ground().after, clock);
    const { segments: opened, next } = await writer.positions();
    register.checkpoint(opened);
    const between = Array.from({ length: 20 }, (_, number) => writer.append(record(100 + number)));
    writer.switchTo(next ?? '');
    const after = Array.from({ length: 20 }, (_, number) => writer.append(record(200 + number)));
    await Promise.all([...before, ...between, ...after]);
    await expect.poll(async () => (await writer.positions()).segments.length).toBe(1);
    register.ended(first);
    writer.close();
    register.close();
    expect(await readFile(join(audit, first), 'utf8')).toContain('"id-119"');
    expect(await readFile(join(audit, next ?? ''), 'utf8')).toContain('"id-200"');
    expect((await ids()).length).toBe(60);
    expect(verify()).toMatchObject({ whole: true, records: 60, unanchored: 0 });
  });

  it('is whole after a kill at each step of it', async () => {
    const steps: readonly ((register: Register, writer: AuditWriter) => Promise<void> | void)[] = [
      (register, writer) => writer.prepare(register.ground().after, clock),
      async (register, writer) => register.checkpoint((await writer.positions()).segments),
      async (_, writer) => writer.switchTo((await writer.positions()).next ?? ''),
      (_, writer) => writer.append(record(2)),
      async (register, writer) => register.checkpoint((await writer.positions()).segments),
    ];
    for (let done = 1; done <= steps.length; done++) {
      const register = open();
      const writer = writerOn(register);
      register.checkpoint((await writer.positions()).segments);
      await writer.append(record(1));
      clock += 1_000;
      for (const step of steps.slice(0, done)) await step(register, writer);
      // Nobody closes anything.
      expect(verify().bad).toBeUndefined();
      clock += 1_000;
    }
    open().close();
    expect(verify()).toMatchObject({ whole: true, unanchored: 0 });
  });

  it('says how far a segment has come that is being closed at that moment', async () => {
    const register = open();
    const writer = writerOn(register);
    for (let turn = 0; turn < 100; turn++) {
      clock += 1_000;
      register.checkpoint((await writer.positions()).segments);
      await writer.append(record(turn));
      writer.prepare(register.ground().after, clock);
      const { segments: opened, next } = await writer.positions();
      register.checkpoint(opened);
      writer.switchTo(next ?? '');
      // Its last flush is under way.
      await Promise.all([writer.positions(), writer.positions(), writer.positions()]);
    }
    writer.close();
    register.close();
    expect((await ids()).length).toBe(100);
  });

  it('goes on in the old segment while the next one cannot be opened, or no checkpoint can name it', async () => {
    const register = open();
    const writer = writerOn(register);
    register.checkpoint((await writer.positions()).segments);
    const taken = writer.current();
    // The name that it would take is there already.
    expect(() => writer.prepare(register.ground().after, clock)).toThrow('EEXIST');
    await writer.append(record(1));
    writer.prepare(register.ground().after, clock + 1);
    await writer.append(record(2));
    expect(writer.current()).toBe(taken);
    writer.close();
    register.close();
    open().close();
    expect(verify()).toMatchObject({ whole: true, records: 2, unanchored: 0 });
  });
});
