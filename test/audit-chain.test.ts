import { spawn } from 'node:child_process';
import { appendFile, cp, mkdir, mkdtemp, readFile, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import fc from 'fast-check';
import { checkpointHash, signLine, type Checkpoint } from '../src/audit/checkpoint.ts';
import { openEvidence } from '../src/audit/evidence.ts';
import { exportAudit, type ExportFilter } from '../src/audit/export.ts';
import { readAuditKey, type AuditKey } from '../src/audit/key.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { openRegister, type Register } from '../src/audit/register.ts';
import { readAnchor, verifyAudit, type Verdict } from '../src/audit/verify.ts';
import { openAuditWriter, type AuditWriter } from '../src/audit/writer.ts';

const REGISTER = 'checkpoints.ndjson';
const TIME = Date.parse('2026-11-22T08:00:00Z');

let root: string;
let audit: string;
let anchor: string;
let warnings: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wardgate-chain-'));
  audit = join(root, 'audit');
  anchor = join(root, 'anchor.ndjson');
  warnings = [];
});

afterEach(() => rm(root, { recursive: true, force: true }));

/** One start of a gateway, as far as its audit goes: the main thread's writer and one thread's. */
interface Started {
  readonly register: Register;
  readonly main: AuditWriter;
  readonly thread: AuditWriter;
  checkpoint(): Promise<void>;
  stop(): Promise<void>;
}

let starts = 0;

function register(): Register {
  return openRegister({ directory: audit, state: root, anchor, now: () => TIME + starts * 1_000, warn: (detail) => warnings.push(detail) });
}

async function begin(durability: 'write' | 'fsync' = 'write'): Promise<Started> {
  starts += 1;
  const opened = register();
  const ground = { ...opened.ground(), directory: audit, durability };
  const main = openAuditWriter(ground, 'main', TIME + starts * 1_000);
  const thread = openAuditWriter(ground, 't0', TIME + starts * 1_000);
  const started: Started = {
    register: opened, main, thread,
    async checkpoint() {
      opened.checkpoint([await main.settled(), await thread.settled()]);
      await opened.anchored(5_000);
    },
    async stop() {
      main.close();
      thread.close();
      opened.close();
      await opened.anchored(5_000);
    },
  };
  await started.checkpoint();
  return started;
}

function record(number: number, fields: Partial<AuditRecord> = {}): AuditRecord {
  return {
    time: new Date(TIME + number * 1_000).toISOString(), event: 'request', result: 'permitted', status: 200, request_id: `id-${number}`, serial: '0a1b', fingerprint: 'f0'.repeat(32),
    route: number % 2 === 0 ? 'records' : 'echo', path: `/records/${number}/Müller`, patient: `P${number % 5}`, ...fields,
  };
}

async function write(writer: AuditWriter, count: number, from = 0): Promise<void> {
  for (let batch = 0; batch < count; batch += 10) {
    await Promise.all(Array.from({ length: Math.min(10, count - batch) }, (_, index) => writer.append(record(from + batch + index))));
  }
}

function verify(path = audit, options: { readonly anchored?: boolean } = {}): Verdict {
  const evidence = openEvidence(path);
  try {
    return verifyAudit({ evidence, ...(options.anchored === false ? {} : { anchor: readAnchor(anchor) }) });
  } finally {
    evidence.close();
  }
}

/** Two days: a start with a stop, and one that goes on. */
async function twoStarts(count = 30): Promise<Started> {
  const first = await begin();
  await write(first.thread, count);
  await write(first.main, 3, 500);
  await first.checkpoint();
  await write(first.thread, count, 100);
  await first.stop();
  const second = await begin();
  await write(second.thread, count, 200);
  await second.checkpoint();
  await write(second.thread, count, 300);
  return second;
}

async function segments(writer = ''): Promise<string[]> {
  return (await readdir(audit)).filter((name) => name.endsWith(`${writer}.jsonl`)).sort();
}

async function linesOf(name: string): Promise<string[]> {
  return (await readFile(join(audit, name), 'utf8')).split('\n').slice(0, -1);
}

const putLines = (name: string, lines: readonly string[]): Promise<void> => writeFile(join(audit, name), lines.map((line) => `${line}\n`).join(''));

describe('an audit that nobody touched', () => {
  it('is whole, with half a line at the end of what is being written, and says what no checkpoint covers', async () => {
    const running = await twoStarts();
    await appendFile(join(audit, (await segments('-t0'))[1] as string), '{"time":"2026');
    expect(verify()).toMatchObject({ whole: true, records: 123, segments: 4, unanchored: 30 });
    expect(warnings).toEqual([]);
    await running.stop();
  });

  it('is covered to the last record once it is closed', async () => {
    await (await twoStarts()).stop();
    expect(verify()).toMatchObject({ whole: true, records: 123, unanchored: 0 });
    expect(verify().anchored?.checkpoint).toBe(verify().checkpoints - 1);
  });

  it('keeps records as they were given, whatever is in them', async () => {
    const started = await begin();
    const texts = ['Zoë 王小明 \u2028', '","seq":9,"hash":"x"}', '\ud800', 'x'.repeat(200_000)];
    await Promise.all(texts.map((detail) => started.thread.append({ ...record(0), detail })));
    await started.stop();
    expect(verify()).toMatchObject({ whole: true, records: 4 });
    const [name = ''] = await segments('-t0');
    expect((await linesOf(name)).slice(1).map((line) => (JSON.parse(line) as AuditRecord).detail)).toEqual(texts);
  });

  it('is as whole when every batch is flushed', async () => {
    const started = await begin('fsync');
    await Promise.all(Array.from({ length: 50 }, (_, index) => started.thread.append(record(index))));
    const late = started.thread.append(record(51));
    await started.stop();
    await late;
    expect(verify()).toMatchObject({ whole: true, records: 51 });
  });

  it('is whole beside a gateway that writes while it is read', async () => {
    const running = await begin();
    const writing = write(running.thread, 2_000);
    for (let round = 0; round < 20; round++) {
      expect(verify()).toMatchObject({ whole: true });
      await running.checkpoint();
    }
    await writing;
    await running.stop();
  });
});

describe('a process that was killed', () => {
  /** What a kill leaves: no stop, and half a line. */
  async function killed(tail: string): Promise<string> {
    const first = await begin();
    await write(first.thread, 20);
    await first.checkpoint();
    await write(first.thread, 5, 50);
    const [name = ''] = await segments('-t0');
    if (tail !== '') await appendFile(join(audit, name), tail);
    return name;
  }

  it('has its half line cut off at the next start, with a signed record of what was cut', async () => {
    const name = await killed('{"time":"2026-11');
    const next = await begin();
    const [, , , start = ''] = (await readFile(join(audit, REGISTER), 'utf8')).split('\n');
    const claim = (JSON.parse(start) as { segments: { segment: string }[] }).segments.find(({ segment }) => segment === name);
    expect(claim).toMatchObject({ state: 'recovered', seq: 25, cut: { octets: 16, sha256: expect.stringMatching(/^[\w-]{43}$/) as string } });
    expect((await readFile(join(audit, name), 'utf8')).endsWith('"}\n')).toBe(true);
    expect(verify()).toMatchObject({ whole: true });
    await next.stop();
  });

  it('leaves half a line of the register, which is cut off and noted likewise', async () => {
    await killed('');
    await appendFile(join(audit, REGISTER), '{"checkpoint":2,"ti');
    const next = await begin();
    expect(JSON.parse((await readFile(join(audit, REGISTER), 'utf8')).split('\n')[3] as string)).toMatchObject({ kind: 'start', cut: { octets: 19 } });
    expect(verify()).toMatchObject({ whole: true });
    await next.stop();
  });

  it('leaves a segment that no checkpoint knows and that holds nothing yet', async () => {
    await killed('');
    const ground = { gateway: 'x', start: 1, after: 'y', directory: audit, durability: 'write' } as const;
    openAuditWriter(ground, 't1', TIME).close();
    expect(verify()).toMatchObject({ whole: true });
    const next = await begin();
    expect(verify()).toMatchObject({ whole: true });
    expect(warnings).toEqual([]);
    await next.stop();
  });

  it('may have lost what no checkpoint has seen: cut off behind the last one, it is reported as not covered before the start', async () => {
    const name = await killed('');
    expect(verify()).toMatchObject({ whole: true, unanchored: 5 });
    await putLines(name, (await linesOf(name)).slice(0, -3));
    expect(verify()).toMatchObject({ whole: true, unanchored: 2 });
  });

  it('cannot have lost what a checkpoint has seen', async () => {
    const name = await killed('');
    await putLines(name, (await linesOf(name)).slice(0, -6));
    expect(verify().bad).toMatchObject({ file: name, seq: 20, line: 21, kind: 'truncated' });
    const next = await begin();
    expect(warnings).toEqual([`audit segment ${name} ends before its last checkpoint`]);
    expect(verify().bad).toMatchObject({ file: name, seq: 20, kind: 'truncated' });
    await next.stop();
  });
});

/** Runs a script under a limit on the size of files, which fails writes as a full disk does. */
async function underLimit(text: string): Promise<string> {
  const file = join(root, 'child.ts');
  const source = join(import.meta.dirname, '../src');
  await writeFile(file, text.replaceAll('SRC', source).replaceAll('AUDIT', JSON.stringify(audit)).replaceAll('ROOT', JSON.stringify(root)));
  const child = spawn('prlimit', ['--fsize=20000:unlimited', process.execPath, file], { stdio: ['ignore', 'pipe', 'inherit'] });
  const octets = await child.stdout.toArray() as Buffer[];
  return Buffer.concat(octets).toString();
}

describe('a disk that fails', () => {
  it('keeps nobody from being denied or suspended, and no grant from being withdrawn: that is in force, and on file once there is room', async () => {
    expect(await underLimit(`
      import { spawnSync } from 'node:child_process';
      import { openDenyList } from 'SRC/store/deny-list.ts';
      import { createDenyTable } from 'SRC/store/deny-table.ts';
      import { openSuspensions } from 'SRC/store/suspensions.ts';
      import { openGrants } from 'SRC/store/grants.ts';
      const lists = () => [openDenyList(ROOT, createDenyTable()), openSuspensions(ROOT), openGrants(ROOT)];
      const [denied, suspended, grants] = lists();
      const change = (reason) => ({ reason, who: 'x', at: new Date().toISOString() });
      const tried = (work) => { try { work(); return 'done'; } catch ({ code }) { return code; } };
      const thief = { kind: 'identity', id: 'thief' };
      const say = (...lists) => console.log(lists[0].denies(thief), lists[0].denies({ kind: 'identity', id: 'first' }), lists[1].entries(Date.now()).length, lists[2].unclosed().length);
      console.log(tried(() => denied.apply({ op: 'deny', kind: 'identity', id: 'first', ...change('x') })));
      console.log(tried(() => denied.apply({ op: 'deny', ...thief, ...change('x'.repeat(30_000)) })), tried(() => suspended.apply({ op: 'suspend', route: 'records', ...change('x'.repeat(30_000)) })));
      console.log(tried(() => denied.apply({ op: 'reinstate', kind: 'identity', id: 'first', ...change('x') })));
      grants.apply({ op: 'open', id: 'g1', route: 'records', breaks: ['role'], reason: 'x', text: 'x', until: new Date(Date.now() + 60_000).toISOString(), certificate: 'c', serial: '1', issuer: 'CN=CA', role: 'nurse', who: 'n', address: '127.0.0.1', listener: 'l', request_id: 'r', at: new Date().toISOString() });
      console.log(tried(() => grants.apply({ op: 'close', id: 'g1', who: 'x', note: 'x'.repeat(30_000), at: new Date().toISOString() })));
      say(denied, suspended, grants);
      spawnSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
      denied.expire(Date.now());
      suspended.settle();
      grants.settle();
      say(...lists());
    `)).toBe('done\nnot_kept not_kept\ndeny_list_unusable\nnot_kept\ntrue true 1 0\ntrue true 1 0\n');
  });

  it('has nobody let in again whose denial waits to be written, however many do', async () => {
    expect(await underLimit(`
      import { spawnSync } from 'node:child_process';
      import { openJournal, readJournal } from 'SRC/store/journal.ts';
      const kind = { file: ROOT + '/many.jsonl', entry: 'entry', fault: (message) => new Error(message), parse: JSON.parse, subject: ({ id }) => id, winner: 'deny' };
      const journal = openJournal(kind);
      const denial = (id) => ({ op: 'deny', id, at: new Date().toISOString(), reason: 'x'.repeat(100) });
      journal.append({ ...denial('first'), reason: 'x'.repeat(19_900) });
      let unkept = 0;
      for (let count = 0; count < 10_001; count++) if (journal.insist(denial('thief ' + count)) !== undefined) unkept++;
      spawnSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
      journal.settle();
      console.log(unkept, readJournal(kind).length);
    `)).toBe('10001 10002\n');
  });

  it('has no half of a CRL taken for all of it', async () => {
    expect(await underLimit(`
      import { openKept } from 'SRC/revocation/kept.ts';
      const kept = openKept({ directory: ROOT, maxFiles: 9, maxOctets: 1 << 20, failed: ({ code }) => console.log(code) });
      await kept.write({ key: 'crl', head: {}, bytes: new Uint8Array(30_000) });
      console.log(await kept.read('crl'));
    `)).toBe('EFBIG\nundefined\n');
  });

  it.each(['write', 'fsync'])('leaves nothing of what was refused, and once there is room again the chain goes on, with %s', async (durability) => {
    const printed = await underLimit(`
      import { spawnSync } from 'node:child_process';
      import { openRegister } from 'SRC/audit/register.ts';
      import { openAuditWriter } from 'SRC/audit/writer.ts';
      const register = openRegister({ directory: AUDIT, state: ROOT, anchor: undefined, now: () => Date.now(), warn: (detail) => console.log('WARNED', detail) });
      const writer = openAuditWriter({ ...register.ground(), directory: AUDIT, durability: '${durability}' }, 't0', Date.now());
      register.checkpoint([await writer.settled()]);
      const append = (id) => writer.append({ time: new Date().toISOString(), event: 'request', result: 'permitted', request_id: id, detail: 'x'.repeat(300) }).then(() => (console.log(id), true), () => false);
      let refused = 0;
      for (let round = 0; refused < 5; round++) {
        const taken = await Promise.all(Array.from({ length: 7 }, (_, index) => append('a' + round + '-' + index)));
        refused += taken.includes(false) ? 1 : 0;
      }
      console.log(writer.failure() !== undefined ? 'FAILING' : 'WORKING');
      spawnSync('prlimit', ['--pid', String(process.pid), '--fsize=unlimited']);
      for (let round = 0; round < 5; round++) await Promise.all([append('b' + round), append('c' + round)]);
      console.log(writer.failure() !== undefined ? 'FAILING' : 'WORKING');
      writer.close();
      register.close();
    `);
    const said = printed.trim().split('\n');
    expect(said.filter((line) => /^[A-Z]/.test(line))).toEqual(['FAILING', 'WORKING']);
    const [name = ''] = await segments();
    const records = (await linesOf(name)).slice(1).map((line) => JSON.parse(line) as AuditRecord);
    const there = records.flatMap(({ request_id: id }) => id ?? []);
    // What was refused is counted in front of the first that was not.
    const gap = records.findIndex(({ event }) => event === 'audit');
    expect(records[gap]?.detail).toMatch(/^(7|14|21|28|35) records could not be written/);
    expect(records[gap + 1]?.request_id).toBe('b0');
    expect(there).toEqual(said.filter((line) => /^[abc]/.test(line)));
    expect(there.length).toBeGreaterThan(20);
    expect(verify(audit, { anchored: false })).toMatchObject({ whole: true, records: there.length + 1 });
  });

  it('leaves no trace of records that were refused, and the chain goes on from the last good one', async () => {
    const started = await begin();
    await write(started.thread, 5);
    const [name = ''] = await segments('-t0');
    await rename(join(audit, name), join(audit, 'away'));
    await rm(join(audit, 'away'));
    await expect(started.thread.append(record(6))).rejects.toThrow('the audit file was removed');
    expect(started.thread.failure()).toBeDefined();
    await started.stop();
    expect(verify().bad).toMatchObject({ file: name, kind: 'removed' });
  });
});

describe('tampering', () => {
  let running: Started;
  let first: string;
  let second: string;

  beforeEach(async () => {
    running = await twoStarts(12);
    [first = '', second = ''] = await segments('-t0');
  });

  afterEach(() => running.stop());

  const anyLine = fc.integer({ min: 2, max: 22 });
  const kinds: readonly (readonly [string, (lines: readonly string[], at: number, other: readonly string[]) => readonly string[], string])[] = [
    ['an edited record', (lines, at) => lines.map((line, index) => (index === at ? line.replace('"status":200', '"status":204') : line)), 'edited'],
    ['a record whose number was edited', (lines, at) => lines.map((line, index) => (index === at ? line.replace(/"seq":\d+/, '"seq":7777') : line)), 'edited'],
    ['a record whose hash was edited', (lines, at) => lines.map((line, index) => (index === at ? line.replace(/"hash":"(.)/, (_, first: string) => `"hash":"${first === 'z' ? 'y' : 'z'}`) : line)), 'edited'],
    ['a record that is none any more', (lines, at) => lines.map((line, index) => (index === at ? 'nothing to see' : line)), 'edited'],
    ['a removed record', (lines, at) => lines.filter((_, index) => index !== at), 'removed'],
    ['a record moved down', (lines, at) => [...lines.slice(0, at), lines[at + 1] as string, lines[at] as string, ...lines.slice(at + 2)], 'reordered'],
    ['a record moved up', (lines, at) => [...lines.slice(0, at), lines.at(-1) as string, ...lines.slice(at, -1)], 'reordered'],
    ['a repeated record', (lines, at) => [...lines.slice(0, at), lines[at - 1] as string, ...lines.slice(at)], 'repeated'],
    ['a record that was made up', (lines, at) => [...lines.slice(0, at), (lines[at] as string).replace('/records/', '/echo/').replace(/"hash":"..../, '"hash":"made'), ...lines.slice(at)], 'added'],
    ['a record from another day put in', (lines, at, other) => [...lines.slice(0, at), other[at] as string, ...lines.slice(at)], 'spliced'],
    ['a record from another day in place of one', (lines, at, other) => lines.map((line, index) => (index === at ? other[at] as string : line)), 'spliced'],
    ['an end that was cut off', (lines, at) => lines.slice(0, at), 'truncated'],
  ];

  it.each(kinds)('%s is found and named at whatever place', async (_, tamper, kind) => {
    const lines = await linesOf(first);
    const other = await linesOf(second);
    await fc.assert(fc.asyncProperty(anyLine, async (at) => {
      await putLines(first, tamper(lines, at, other));
      expect(verify().bad).toMatchObject({ file: first, line: at + 1, seq: at, kind });
    }), { numRuns: 12 });
  });

  it('of a single octet anywhere in a closed segment is found', async () => {
    const octets = await readFile(join(audit, first));
    await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: octets.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const changed = Buffer.from(octets);
      changed[at] = (changed[at] as number) ^ change;
      await writeFile(join(audit, first), changed);
      const line = octets.subarray(0, at).toString('latin1').split('\n').length;
      const { whole, bad } = verify();
      expect(whole).toBe(false);
      expect(bad?.file).toBe(first);
      expect(bad?.line).toBe(line);
    }), { numRuns: 150 });
  });

  it('of a single octet anywhere in the register is found', async () => {
    const octets = await readFile(join(audit, REGISTER));
    await fc.assert(fc.asyncProperty(fc.integer({ min: 0, max: octets.length - 1 }), fc.integer({ min: 1, max: 255 }), async (at, change) => {
      const changed = Buffer.from(octets);
      changed[at] = (changed[at] as number) ^ change;
      await writeFile(join(audit, REGISTER), changed);
      expect(verify().bad?.file).toBe(REGISTER);
    }), { numRuns: 100 });
  });

  it('that computes the whole chain anew is shown by the checkpoint', async () => {
    const lines = await linesOf(first);
    const away = join(root, 'forged');
    const ground = { gateway: 'x', start: 1, after: 'y', directory: away, durability: 'write' } as const;
    const forger = openAuditWriter(ground, 't0', Date.parse((JSON.parse(lines[0] as string) as AuditRecord).time));
    for (const line of lines.slice(1)) await new Promise<void>((resolve) => forger.write(line.replace(/,"seq":\d+,"hash":"[^"]*"\}$/, '}').replace('/records/4/', '/records/x/'), undefined, () => resolve()));
    forger.close();
    await cp(join(away, first), join(audit, first));
    expect(verify().bad).toMatchObject({ file: first, kind: 'rewritten' });
  });

  it('that removes a whole segment is found', async () => {
    await rm(join(audit, first));
    expect(verify().bad).toMatchObject({ file: first, kind: 'removed' });
  });

  it('that puts one segment in place of another is found', async () => {
    await cp(join(audit, second), join(audit, first));
    expect(verify().bad).toMatchObject({ file: first, kind: 'spliced', line: 1 });
  });

  it('that adds a file is found, and stays found after a start', async () => {
    await writeFile(join(audit, 'made-up.jsonl'), '{"time":"2026-11-22T08:00:00.000Z","event":"request"}\n');
    expect(verify().bad).toMatchObject({ file: 'made-up.jsonl', kind: 'added' });
    await running.stop();
    running = await begin();
    expect(warnings).toEqual(['audit file made-up.jsonl was not written by this gateway']);
    expect(verify().bad).toMatchObject({ file: 'made-up.jsonl', kind: 'added' });
  });

  it('that adds records to a closed segment, chained as they should be, is found', async () => {
    const lines = await linesOf(first);
    await putLines(first, lines.slice(0, -1));
    const short = verify().bad;
    expect(short).toMatchObject({ file: first, kind: 'truncated', seq: 24 });
    await writeFile(join(audit, first), `${lines.join('\n')}\n{"half`);
    expect(verify().bad).toMatchObject({ file: first, kind: 'added', seq: 25 });
  });

  it.each([
    ['removes a checkpoint', (lines: string[]) => lines.toSpliced(2, 1), 'removed', 2],
    ['swaps checkpoints', (lines: string[]) => [...lines.slice(0, 1), lines[2] as string, lines[1] as string, ...lines.slice(3)], 'removed', 1],
    ['repeats a checkpoint', (lines: string[]) => [...lines.slice(0, 3), lines[2] as string, ...lines.slice(3)], 'reordered', 3],
    ['edits a checkpoint', (lines: string[]) => lines.with(2, (lines[2] as string).replace('"seq":12', '"seq":11')), 'edited', 3],
    ['cuts off anchored checkpoints', (lines: string[]) => lines.slice(0, -1), 'truncated', 6],
  ] as const)('that %s is found', async (_, tamper, kind, seq) => {
    await putLines(REGISTER, tamper(await linesOf(REGISTER)));
    const { bad } = verify();
    expect(bad).toMatchObject({ file: REGISTER, seq });
    // What follows an edited checkpoint no longer follows from it.
    expect(kind === 'edited' ? ['edited', 'unsigned'] : [kind]).toContain(bad?.kind);
  });

  it('that cuts off the newest checkpoints and what they cover is shown by the anchor, and by nothing else', async () => {
    const lines = await linesOf(REGISTER);
    await putLines(REGISTER, lines.slice(0, -1));
    await putLines(second, (await linesOf(second)).slice(0, 5));
    expect(verify(audit, { anchored: false })).toMatchObject({ whole: true, notes: expect.arrayContaining([expect.stringContaining('no anchor was given') as string]) as string[] });
    expect(verify().bad).toMatchObject({ file: REGISTER, kind: 'truncated' });
  });

  it('that signs everything anew with another key is shown by the key that was kept', async () => {
    const { publicPem } = await import('../src/audit/key.ts').then(({ readAuditKey }) => readAuditKey(root) ?? { publicPem: '' });
    const evidence = openEvidence(audit);
    expect(verifyAudit({ evidence, key: publicPem }).whole).toBe(true);
    const { makeAuditKey } = await import('../src/audit/key.ts');
    const other = makeAuditKey(root);
    expect(verifyAudit({ evidence, key: other.publicPem }).bad).toMatchObject({ file: REGISTER, kind: 'unsigned' });
  });

  it('that signs everything anew with another key is shown by an anchor that knows nothing of that key', async () => {
    const ofTheKeyBefore = (await readFile(anchor, 'utf8')).replace(/"gateway":"[^"]+"/g, '"gateway":"another"');
    await writeFile(anchor, ofTheKeyBefore);
    expect(verify().bad).toMatchObject({ file: 'anchor', kind: 'removed', detail: expect.stringContaining('no checkpoint that is of the key') as string });
  });

  it('by removing the register is found', async () => {
    await rm(join(audit, REGISTER));
    expect(verify().bad).toMatchObject({ file: REGISTER, kind: 'removed' });
  });
});

describe('a register of years', () => {
  const file = (): string => join(audit, REGISTER);

  interface Kept {
    readonly claims: readonly object[];
  }

  /** With so many checkpoints more, the last of them signed. */
  async function grow(count: number): Promise<void> {
    const lines = (await readFile(file(), 'utf8')).trimEnd().split('\n');
    const { signature: _, ...said } = JSON.parse(lines.at(-1) as string) as Checkpoint & { readonly signature: string };
    for (let at = 1; at <= count; at += 1) {
      const next: Checkpoint = { ...said, checkpoint: said.checkpoint + at, previous: checkpointHash(lines.at(-1) as string) };
      lines.push(at === count ? signLine(next, readAuditKey(root) as AuditKey) : JSON.stringify(next));
    }
    await writeFile(file(), `${lines.join('\n')}\n`);
  }

  beforeEach(async () => {
    const first = await begin();
    await first.stop();
    await grow(4_100);
    await (await begin()).stop();
  });

  it('is not read from its beginning at every start, which nobody would serve in; that it was changed there is told all the same, and nothing is pruned', async () => {
    const text = await readFile(file());
    text.write('0', text.indexOf('"checkpoint":1,') + '"checkpoint":'.length);
    await writeFile(file(), text);
    const again = register();
    expect(warnings).toEqual([]);
    expect([...again.segments()]).toHaveLength(4);
    expect(await again.whole()).toBe(false);
    expect(warnings).toEqual([expect.stringContaining('is not what was written')]);
    again.close();
    await again.anchored(5_000);
  });

  it.each([
    ['knows a segment less', ({ claims }: Kept) => ({ claims: claims.slice(1) }), true],
    ['says something else', ({ claims: [first, ...others] }: Kept) => ({ claims: [{ ...first, seq: 7 }, ...others] }), false],
    ['is no more than half of it', () => ({ claims: undefined }), true],
  ])('has nothing lost or called foreign by what was kept of it, where that %s', async (_, changed, wholeAtOnce) => {
    const kept = join(root, 'checkpoints-read.json');
    const said = JSON.parse(await readFile(kept, 'utf8')) as Kept;
    await writeFile(kept, JSON.stringify({ ...said, ...changed(said) }));
    const again = register();
    expect(await again.whole()).toBe(wholeAtOnce);
    expect(warnings).toEqual(wholeAtOnce ? [] : [expect.stringContaining('is not what it says')]);
    again.close();
    const next = register();
    expect(await next.whole()).toBe(true);
    next.close();
    await Promise.all([again.anchored(5_000), next.anchored(5_000)]);
  });

  it('is read as a whole where it is another one than was read before', async () => {
    const text = await readFile(file(), 'utf8');
    await writeFile(file(), text.slice(0, text.indexOf('\n', text.length / 2) + 1));
    expect(() => register()).toThrow('was not signed');
    await rm(audit, { recursive: true });
    const fresh = await begin();
    expect([...fresh.register.segments()]).toHaveLength(2);
    expect(await fresh.register.whole()).toBe(true);
    await fresh.stop();
  });
});

describe('the key', () => {
  it('is made once, for nobody else to read, and a gateway without it does not go on with what it signed', async () => {
    await (await begin()).stop();
    const key = join(root, 'audit.key');
    expect((await stat(key)).mode & 0o777).toBe(0o600);
    const kept = await readFile(key);
    await (await begin()).stop();
    expect(await readFile(key)).toEqual(kept);
    await rm(key);
    expect(() => register()).toThrow('the key that signed it is gone');
    const { makeAuditKey } = await import('../src/audit/key.ts');
    makeAuditKey(root);
    expect(() => register()).toThrow("was not signed with this gateway's key");
  });
});

describe('the anchor', () => {
  it('that cannot be written is told, and the next one that can stands for those that are missing', async () => {
    const started = await begin();
    await rm(anchor);
    await mkdir(anchor);
    await write(started.thread, 3);
    await started.checkpoint();
    expect(warnings).toEqual([expect.stringContaining('was not anchored') as string]);
    await rm(anchor, { recursive: true });
    await write(started.thread, 3, 10);
    await started.checkpoint();
    expect(verify()).toMatchObject({ whole: true, unanchored: 0 });
    await started.stop();
  });

  it('may end with half a line after a kill', async () => {
    const started = await begin();
    await truncate(anchor, (await stat(anchor)).size - 10);
    await write(started.thread, 3);
    await started.checkpoint();
    expect(verify()).toMatchObject({ whole: true, notes: expect.arrayContaining([expect.stringContaining('half lines') as string]) as string[] });
    await started.stop();
  });

  it('with a line that somebody else wrote is not taken for ours', async () => {
    const started = await begin();
    await appendFile(anchor, `${(await readFile(anchor, 'utf8')).split('\n')[0]?.replace('"start":1', '"start":2')}\n`);
    expect(verify().bad).toMatchObject({ file: 'anchor', kind: 'unsigned' });
    await started.stop();
  });
});

describe('an export', () => {
  async function exported(filter: ExportFilter = {}): Promise<string> {
    const evidence = openEvidence(audit);
    const path = join(root, 'export.ndjson');
    await writeFile(path, Buffer.concat([...exportAudit(evidence, filter, TIME)]));
    return path;
  }

  it('of everything is verified like the directory, and shows what was done to it', async () => {
    await (await twoStarts()).stop();
    const path = await exported();
    expect(verify(path)).toMatchObject({ whole: true, records: 123, segments: 4 });
    await writeFile(path, (await readFile(path, 'utf8')).replace('/records/7/', '/records/8/'));
    expect(verify(path).bad).toMatchObject({ file: (await segments('-t0'))[0], seq: 8, kind: 'edited' });
  });

  it('of a running gateway is whole', async () => {
    const running = await twoStarts();
    await appendFile(join(audit, (await segments('-t0'))[1] as string), '{"time":"2026');
    expect(verify(await exported())).toMatchObject({ whole: true, records: 123 });
    await running.stop();
  });

  it('of some records has those that match everything asked for, and says what it does not prove', async () => {
    await (await twoStarts()).stop();
    const path = await exported({ patient: 'P2', route: 'records', from: TIME + 200_000, to: TIME + 230_000 });
    const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => line.startsWith('{"segment"')).map((line) => (JSON.parse(line) as { record: AuditRecord }).record);
    expect(lines.map(({ request_id }) => request_id)).toEqual(['id-202', 'id-212', 'id-222']);
    const verdict = verify(path);
    expect(verdict).toMatchObject({ whole: true, records: 3 });
    expect(verdict.notes.join()).toContain('that none is left out');
    await writeFile(path, (await readFile(path, 'utf8')).replace('/records/212/', '/records/213/'));
    expect(verify(path).bad).toMatchObject({ kind: 'edited' });
  });
});

vi.setConfig({ testTimeout: 30_000 });
