import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openArchive, type Archive } from '../src/audit/archive.ts';
import { compressSegment } from '../src/audit/compressed.ts';
import { openEvidence } from '../src/audit/evidence.ts';
import { exportAudit } from '../src/audit/export.ts';
import type { RecordFilter } from '../src/audit/filter.ts';
import { readAuditKey } from '../src/audit/key.ts';
import { passedByAll } from '../src/audit/passed.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { openRegister, readHolds, type Register } from '../src/audit/register.ts';
import { sealExport } from '../src/audit/seal.ts';
import { verifyAudit, type Verdict } from '../src/audit/verify.ts';
import { openAuditWriter } from '../src/audit/writer.ts';
import { configSchema } from '../src/config/schema.ts';
import { readRecords } from './support/gateway.ts';

const YEAR = 366 * 86_400_000;
const RETENTION = 7 * YEAR;

let root: string;
let audit: string;
let clock: number;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wardgate-keeping-'));
  audit = join(root, 'audit');
  clock = Date.parse('2026-11-22T08:00:00Z');
});

afterEach(() => rm(root, { recursive: true, force: true }));

interface Opened {
  readonly register: Register;
  readonly archive: Archive;
  /** Writes so many records to a segment of their own, which is closed then. */
  segment(records: number, fields?: Partial<AuditRecord>): Promise<string>;
  close(): void;
}

/** A start of a gateway without threads. */
async function start({ compress = true }: { readonly compress?: boolean } = {}): Promise<Opened> {
  clock += 1_000;
  const register = openRegister({ directory: audit, state: root, anchor: undefined, now: () => clock, warn: (detail) => expect.fail(detail) });
  const ground = { ...register.ground(), directory: audit, durability: 'write' as const };
  const main = openAuditWriter(ground, 'main', clock);
  register.checkpoint([await main.settled()]);
  const archive = openArchive({
    register, directory: audit, retention: RETENTION, compress, now: () => clock, passed: (segment, octets) => passedByAll(root, segment, octets),
    record: main.append, warn: (detail) => expect.fail(detail),
  });
  let number = 0;
  return {
    register, archive,
    async segment(records, fields = {}) {
      clock += 1_000;
      const writer = openAuditWriter(ground, `t${number++}`, clock);
      const position = await writer.settled();
      register.checkpoint([position]);
      await Promise.all(Array.from({ length: records }, (_, at) => writer.append({
        time: new Date(clock + at).toISOString(), event: 'request', result: 'permitted', request_id: `${position.segment}-${at}`, patient: `P${at % 7}`, path: `/records/${at}/Müller`, ...fields,
      })));
      writer.close();
      register.ended(position.segment);
      register.checkpoint([]);
      return position.segment;
    },
    close() {
      main.close();
      register.close();
    },
  };
}

function verify(path = audit): Verdict {
  const evidence = openEvidence(path);
  try {
    return verifyAudit({ evidence });
  } finally {
    evidence.close();
  }
}

async function exported(filter: RecordFilter): Promise<string> {
  const evidence = openEvidence(audit);
  const path = join(root, 'export.ndjson');
  await writeFile(path, Buffer.concat([...exportAudit(evidence, filter, clock)]));
  evidence.close();
  return path;
}

async function sealed(filter: RecordFilter): Promise<string> {
  const evidence = openEvidence(audit);
  const key = readAuditKey(root);
  const path = join(root, 'bundle.sealed');
  if (key !== undefined) await writeFile(path, Buffer.concat([...sealExport(evidence, filter, { who: 'investigator', case: 'A/1' }, key, clock)]));
  evidence.close();
  return path;
}

describe('closed segments', () => {
  it('are compressed to the same octets, and verify, exports and any zstd read them', async () => {
    const opened = await start();
    const name = await opened.segment(5_000);
    const plain = await readFile(join(audit, name));
    await opened.archive.look();
    opened.close();
    expect((await readdir(audit)).filter((file) => file.startsWith(name))).toEqual([`${name}.zst`]);
    expect((await stat(join(audit, `${name}.zst`))).size).toBeLessThan(plain.length / 3);
    expect(verify()).toMatchObject({ whole: true, records: 5_000, unanchored: 0 });
    expect(await readFile(await exported({}))).toSatisfy((octets: Buffer) => octets.includes(plain));
    let zstd: Buffer | undefined;
    try {
      zstd = execFileSync('zstd', ['-dc', join(audit, `${name}.zst`)], { maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      console.log('no zstd program: compressed segments are not held against it');
    }
    if (zstd !== undefined) expect(zstd.equals(plain)).toBe(true);
  });

  it('stay as they are until every consumer of the feed has them', async () => {
    const opened = await start();
    const name = await opened.segment(3);
    await mkdir(join(root, 'feed'));
    const position = (octets: number): Promise<void> => writeFile(join(root, 'feed/siem.json'), JSON.stringify({ format: 1, name: 'siem', segments: { [name]: octets }, done: [] }));
    const { size } = await stat(join(audit, name));
    await position(size - 1);
    await opened.archive.look();
    expect(await readdir(audit)).toContain(name);
    await position(size);
    await opened.archive.look();
    expect(await readdir(audit)).toContain(`${name}.zst`);
    opened.close();
  });

  it('are whole after a kill at each step of compressing them', async () => {
    const opened = await start({ compress: false });
    const name = await opened.segment(20);
    const path = join(audit, name);
    const plain = await readFile(path);
    opened.close();
    // Half of the compressed one is there, under a name that is not its own yet.
    await writeFile(`${path}.zst.new`, 'half');
    expect(verify().bad).toBeUndefined();
    await compressSegment(audit, name, plain.length);
    // Both are there.
    await writeFile(path, plain);
    expect(verify()).toMatchObject({ whole: true, records: 20 });
    const again = await start();
    await again.archive.look();
    again.close();
    expect((await readdir(audit)).filter((file) => file.startsWith(name))).toEqual([`${name}.zst`]);
    expect(verify()).toMatchObject({ whole: true });
  });

  it('that were changed are found when they are compressed, too', async () => {
    const opened = await start();
    const name = await opened.segment(200);
    await opened.archive.look();
    opened.close();
    const path = join(audit, `${name}.zst`);
    const good = await readFile(path);
    for (let at = 0; at < good.length; at += Math.ceil(good.length / 60)) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 0x20;
      await writeFile(path, bad);
      expect(verify().whole, `octet ${at}`).toBe(false);
    }
    await writeFile(path, good.subarray(0, good.length - 4));
    expect(verify().bad).toMatchObject({ file: name, kind: 'edited' });
    await rm(path);
    expect(verify().bad).toMatchObject({ file: name, kind: 'removed' });
  });
});

describe('retention', () => {
  it('is never configured shorter than the six years of HIPAA', () => {
    const { audit: schema } = configSchema.shape;
    expect(schema.parse({})).toMatchObject({ retention: RETENTION });
    for (const retention of ['6y', '2192d', '30y']) expect(schema.safeParse({ retention }).success, retention).toBe(true);
    for (const retention of ['5y', '2191d', '1d']) expect(schema.safeParse({ retention }).error?.issues[0]?.message, retention).toContain('HIPAA');
    for (const retention of ['0y', '7', '90m', 7]) expect(schema.safeParse({ retention }).success, String(retention)).toBe(false);
  });

  it('lets nothing younger go, and says so', async () => {
    const opened = await start();
    await opened.segment(3);
    clock += RETENTION - 60_000;
    expect(await opened.archive.prune({ who: 'root', reason: 'space', confirm: true })).toMatchObject({ due: [], more: false });
    await expect(opened.archive.prune({ who: 'root', reason: 'space', before: new Date(clock).toISOString(), confirm: true })).rejects.toThrow(/audit\.retention keeps every record for 2562 days/);
    opened.close();
    expect(verify()).toMatchObject({ whole: true });
  });

  it('removes by order what is old enough, signed in the register: by hand it is tampering', async () => {
    const opened = await start();
    const old = await opened.segment(4);
    await opened.archive.look();
    clock += RETENTION + 60_000;
    const young = await opened.segment(4);
    const order = { who: 'clerk', reason: 'yearly clearance' };
    expect((await opened.archive.prune({ ...order, confirm: false })).due.map(({ segment }) => segment)).toEqual([old]);
    expect(await readdir(audit)).toContain(`${old}.zst`);
    await opened.archive.prune({ ...order, confirm: true });
    expect((await readdir(audit)).filter((name) => name.startsWith(old))).toEqual([]);
    const { whole, notes } = verify();
    expect(whole).toBe(true);
    expect(notes.join('\n')).toMatch(/1 segments were removed by retention on \S+ by clerk, .*yearly clearance/);
    opened.close();
    (await start()).close();
    expect(verify()).toMatchObject({ whole: true });
    expect((await readRecords(audit)).map(({ event, detail }) => [event, detail])).toContainEqual(['evidence', expect.stringContaining('prunes 1 segments')]);
    await rm(join(audit, young));
    expect(verify().bad).toMatchObject({ file: young, kind: 'removed' });
  });

  it('is whole after a kill between the signature and the removal, and the next order finishes it', async () => {
    const opened = await start();
    const old = await opened.segment(4);
    clock += RETENTION + 60_000;
    opened.register.prune([old], { who: 'clerk', reason: 'x', before: new Date(clock).toISOString() });
    expect(verify()).toMatchObject({ whole: true });
    await opened.archive.prune({ who: 'clerk', reason: 'again', confirm: true });
    expect(await readdir(audit)).not.toContain(old);
    opened.close();
    expect(verify()).toMatchObject({ whole: true });
  });

  it('leaves alone what is held, by patient and by time, until it is released', async () => {
    const opened = await start();
    const held = await opened.segment(4, { patient: 'P-court' });
    const other = await opened.segment(4, { patient: 'P-other' });
    const id = await opened.archive.hold({ patient: 'P-court', from: '2026-01-01T00:00:00.000Z', who: 'legal', reason: 'order 12/26' });
    opened.close();
    expect(readHolds(audit)).toMatchObject([{ id, patient: 'P-court', who: 'legal', reason: 'order 12/26' }]);
    const later = await start();
    clock += RETENTION + 60_000;
    const order = { who: 'clerk', reason: 'clearance', confirm: true };
    const report = await later.archive.prune(order);
    expect(report.held).toContainEqual({ segment: held, hold: id });
    expect(report.due.map(({ segment }) => segment)).toContain(other);
    expect(await later.archive.release(id, 'legal', 'closed')).toBe(true);
    expect(await later.archive.release(id, 'legal', 'closed')).toBe(false);
    expect((await later.archive.prune(order)).due.map(({ segment }) => segment)).toContain(held);
    expect(await readdir(audit)).not.toContain(held);
    later.close();
    expect(verify()).toMatchObject({ whole: true });
  });
});

describe('a filtered export', () => {
  it('proves of each record of a closed segment that it stands there', async () => {
    const opened = await start();
    for (const records of [1, 2, 7, 64, 333]) await opened.segment(records);
    await opened.archive.look();
    opened.register.checkpoint([]);
    const path = await exported({ patient: 'P0' });
    expect(verify(path)).toMatchObject({ whole: true, records: 1 + 1 + 1 + 10 + 48, proven: 61 });
    opened.close();
  });

  it('carries only the checkpoints that it needs, each of which stands for itself', async () => {
    const opened = await start();
    for (const patient of ['P8', 'P9', 'P9', 'P9']) await opened.segment(5, { patient });
    await opened.archive.signTrees();
    opened.register.checkpoint([]);
    const path = await exported({ patient: 'P8' });
    const { checkpoints } = verify(path);
    expect(checkpoints).toBeLessThan(verify().checkpoints / 3);
    const good = await readFile(path, 'utf8');
    const [tree = ''] = /"tree":"[^"]+"/.exec(good) ?? [];
    await writeFile(path, good.replace(tree, `"tree":"${'B'.repeat(43)}"`));
    expect(verify(path).bad).toMatchObject({ kind: 'unsigned' });
    await writeFile(path, good.split('\n').filter((line) => !line.startsWith('{"checkpoint":')).join('\n'));
    expect(verify(path).whole).toBe(false);
    opened.close();
  });

  it('shows a record that was made up, whatever its own hash says', async () => {
    const opened = await start();
    await opened.segment(40);
    await opened.segment(40);
    await opened.archive.look();
    opened.register.checkpoint([]);
    const path = await exported({ patient: 'P3' });
    const good = await readFile(path, 'utf8');
    const lines = good.split('\n');
    const picked = lines.flatMap((line, index) => (line.startsWith('{"segment":') ? [index] : []));
    // The proof of another record, and none of the segment that it says.
    const [first = 0, second = 0] = picked;
    const proofOf = (line: string): string => /"proof":"[^"]*"/.exec(line)?.[0] ?? '';
    await writeFile(path, lines.with(first, (lines[first] ?? '').replace(proofOf(lines[first] ?? ''), proofOf(lines[second] ?? ''))).join('\n'));
    expect(verify(path).bad).toMatchObject({ kind: 'rewritten' });
    const segmentOf = (line: string): string => /"segment":"([^"]*)"/.exec(line)?.[1] ?? '';
    const last = lines[picked.at(-1) ?? 0] ?? '';
    await writeFile(path, lines.with(first, (lines[first] ?? '').replace(segmentOf(lines[first] ?? ''), segmentOf(last))).join('\n'));
    expect(verify(path).bad).toMatchObject({ kind: 'rewritten' });
    opened.close();
  });
});

describe('a sealed export', () => {
  it('verifies offline with its manifest, whole or of some records', async () => {
    const opened = await start();
    await opened.segment(50);
    await opened.archive.look();
    opened.close();
    for (const filter of [{}, { patient: 'P2' }] as const) {
      const path = await sealed(filter);
      const moved = join(root, 'elsewhere');
      await rename(path, moved);
      const { whole, records, notes } = verify(moved);
      expect({ whole, records }).toEqual({ whole: true, records: 'patient' in filter ? 7 : 50 });
      expect(notes.join('\n')).toMatch(/sealed on \S+ by investigator for case "A\/1": \d+ records.*every part is the one that was sealed/);
    }
  });

  it('shows what was done to it since', async () => {
    const opened = await start();
    await opened.segment(30);
    await opened.archive.look();
    opened.register.checkpoint([]);
    const path = await sealed({ patient: 'P4' });
    const good = await readFile(path);
    const text = good.toString();
    const lines = text.split('\n');
    const tampered: Readonly<Record<string, string>> = {
      'its manifest gone': lines.slice(0, -2).join('\n') + '\n',
      'another case in the manifest': text.replace(/("manifest":.*"case":")A\/1/, '$1B/2'),
      'a record left out': lines.filter((_, index) => index !== lines.findIndex((line) => line.startsWith('{"segment":'))).join('\n'),
      'another filter in its head': text.replace('"patient":"P4"', '"patient":"P5"'),
      'something added': lines.toSpliced(-2, 0, lines.find((line) => line.startsWith('{"segment":')) ?? '').join('\n'),
    };
    for (const [what, content] of Object.entries(tampered)) {
      expect(content, what).not.toBe(text);
      await writeFile(path, content);
      expect(verify(path).whole, what).toBe(false);
    }
    await writeFile(path, good);
    expect(verify(path).whole).toBe(true);
    opened.close();
  });
});
