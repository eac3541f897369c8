import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openEvidence } from '../src/audit/evidence.ts';
import { openRegister } from '../src/audit/register.ts';
import { readAnchor, verifyAudit, type Verdict } from '../src/audit/verify.ts';
import { openAuditWriter } from '../src/audit/writer.ts';
import { receiverSetup } from './support/feeding.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { startReceiver, type Receiver } from './support/receiver.ts';

let pki: TestPki;
let root: string;
let receiver: Receiver;
const warnings: string[] = [];

beforeAll(async () => {
  pki = await testPki();
  root = mkdtempSync(join(tmpdir(), 'wardgate-anchor-'));
  receiver = await startReceiver(pki);
});

afterAll(async () => {
  await receiver.close();
  rmSync(root, { recursive: true, force: true });
});

async function run(state: string, port = receiver.port): Promise<void> {
  const directory = join(state, 'audit');
  const register = openRegister({
    directory, state, anchor: undefined, receiver: receiverSetup(pki, port), now: () => Date.now(), warn: (detail) => warnings.push(detail),
  });
  const writer = openAuditWriter({ ...register.ground(), directory, durability: 'write' }, 'main', Date.now());
  register.checkpoint([await writer.settled()]);
  await writer.append({ time: new Date().toISOString(), event: 'start', result: 'done' });
  writer.close();
  register.close();
  await register.anchored(5_000);
}

function verify(lines: readonly string[]): Verdict {
  writeFileSync(join(root, 'received.log'), lines.map((line) => `${line}\n`).join(''));
  const evidence = openEvidence(join(root, 'audit'));
  return verifyAudit({ evidence, anchor: readAnchor(join(root, 'received.log')), key: readFileSync(join(root, 'audit', 'checkpoints.pem'), 'utf8') });
}

describe('the anchor by syslog', () => {
  test('gets every checkpoint, and what the receiver has proves the audit, whichever head it puts before each', async () => {
    await run(root);
    expect(receiver.messages.map((message) => /^<110>1 \S+ \S+ wardgate \d+ checkpoint - \{"checkpoint":(\d+),/.exec(message)?.[1])).toEqual(['0', '1', '2']);
    const whole = verify(receiver.messages);
    expect(whole).toMatchObject({ whole: true, unanchored: 0, anchored: { checkpoint: 2 }, notes: [] });
    const traditional = receiver.messages.map((message) => `Nov 22 12:00:00 gateway wardgate[7]: ${message.slice(message.indexOf('{'))}`);
    expect(verify(traditional)).toMatchObject({ whole: true, anchored: { checkpoint: 2 } });
    // A message that was not known to have come is sent again; others write to the same file.
    expect(verify([...traditional, ...traditional, 'Nov 22 12:00:01 gateway wardgate[7]: {"time":"2026-11-22T12:00:01Z","event":"request"}', 'Nov 22 12:00:02 other CEF:0|a|b {"checkpoint":0,"previous":"","segments":[]}']))
      .toMatchObject({ whole: true, anchored: { checkpoint: 2 }, notes: [] });
  });

  test('shows what was cut off the register', () => {
    const file = join(root, 'audit', 'checkpoints.ndjson');
    const register = readFileSync(file, 'utf8');
    writeFileSync(file, register.split('\n').slice(0, 2).join('\n') + '\n');
    expect(verify(receiver.messages).bad).toMatchObject({ kind: 'truncated', file: 'checkpoints.ndjson' });
    writeFileSync(file, register);
  });

  test('holds those of other gateways apart', async () => {
    const other = join(root, 'other');
    await run(other);
    expect(verify(receiver.messages)).toMatchObject({ whole: true, anchored: { checkpoint: 2 }, notes: ['the anchor has 3 checkpoints of other gateways'] });
  });

  test('that is away is told, and the next start stands for what is missing', async () => {
    const before = receiver.messages.length;
    await run(root, 1);
    expect(warnings[0]).toMatch(/a checkpoint of the audit was not anchored: 127\.0\.0\.1:1: .*ECONNREFUSED/);
    expect(verify(receiver.messages)).toMatchObject({ whole: true, unanchored: 1 });
    await run(root);
    expect(receiver.messages.length).toBe(before + 3);
    expect(verify(receiver.messages)).toMatchObject({ whole: true, unanchored: 0 });
  });
});
