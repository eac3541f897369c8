import { execFileSync } from 'node:child_process';
import { appendFile, copyFile, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ArchiveError, openArchive, type Archive } from '../src/audit/archive.ts';
import { readBook } from '../src/audit/book.ts';
import { START, closeLine, digest, leadOf, LINK_OCTETS } from '../src/audit/chain.ts';
import { NO_CHECKPOINT, checkpointHash, signLine } from '../src/audit/checkpoint.ts';
import { compressSegment } from '../src/audit/compressed.ts';
import { openEvidence, type Evidence } from '../src/audit/evidence.ts';
import { exportAudit } from '../src/audit/export.ts';
import { makeAuditKey, readPublicKey } from '../src/audit/key.ts';
import { openRegister, type Register } from '../src/audit/register.ts';
import { readAnchor, verifyAudit, type Verdict } from '../src/audit/verify.ts';
import { openAuditWriter } from '../src/audit/writer.ts';

const YEAR = 366 * 86_400_000;

let root: string;
let audit: string;
let anchor: string;
let clock: number;
let warnings: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'wardgate-forged-'));
  audit = join(root, 'audit');
  anchor = join(root, 'anchor.ndjson');
  clock = Date.parse('2026-11-22T08:00:00Z');
  warnings = [];
});

afterEach(() => rm(root, { recursive: true, force: true }));

interface Started {
  readonly register: Register;
  readonly archive: Archive;
  segment(records: number): Promise<string>;
  stop(): Promise<void>;
}

async function start(state = root): Promise<Started> {
  clock += 1_000;
  const register = openRegister({ directory: audit, state, anchor, now: () => clock, warn: (detail) => warnings.push(detail) });
  const ground = { ...register.ground(), directory: audit, durability: 'write' as const };
  const main = openAuditWriter(ground, 'main', clock);
  register.checkpoint([await main.settled()]);
  const archive = openArchive({
    register, directory: audit, retention: 7 * YEAR, compress: false, now: () => clock, passed: () => true, record: main.append, warn: (detail) => warnings.push(detail),
  });
  let number = 0;
  return {
    register, archive,
    async segment(records) {
      clock += 1_000;
      const writer = openAuditWriter(ground, `t${number++}`, clock);
      const { segment } = await writer.settled();
      register.checkpoint([await writer.settled()]);
      await Promise.all(Array.from({ length: records }, (_, at) => writer.append({ time: new Date(clock + at).toISOString(), event: 'request', result: 'permitted', patient: `P${at % 4}` })));
      writer.close();
      register.ended(segment);
      register.checkpoint([]);
      await archive.signTrees();
      register.checkpoint([]);
      return segment;
    },
    async stop() {
      await archive.close();
      main.close();
      register.close();
      await register.anchored(5_000);
    },
  };
}

function verify(path = audit, { anchored = false } = {}): Verdict {
  const evidence = openEvidence(path);
  try {
    return verifyAudit({ evidence, ...(anchored ? { anchor: readAnchor(anchor) } : {}) });
  } finally {
    evidence.close();
  }
}

/** A line that holds by itself behind any other. */
function forged(seq: number, previous = START.hash, object: object = { time: '2026-11-22T08:00:00.000Z', event: 'request', result: 'permitted', patient: 'forged' }): string {
  const text = JSON.stringify(object);
  const lead = leadOf({ seq: seq - 1, hash: previous });
  const octets = Buffer.concat([lead, Buffer.from(text)], lead.length + text.length + LINK_OCTETS);
  return octets.toString('utf8', lead.length, closeLine(octets, lead.length, lead.length + text.length, seq).end);
}

async function exported(filter: Parameters<typeof exportAudit>[1] = {}): Promise<string> {
  const evidence = openEvidence(audit);
  const path = join(root, 'export.ndjson');
  await writeFile(path, Buffer.concat([...exportAudit(evidence, filter, clock)]));
  evidence.close();
  return path;
}

async function change(path: string, edit: (lines: string[]) => readonly string[]): Promise<void> {
  await writeFile(path, edit((await readFile(path, 'utf8')).split('\n')).join('\n'));
}

describe('what was made up is found', () => {
  it('a record in a filtered export that comes without the proof that its closed segment has for it', async () => {
    const started = await start();
    const segment = await started.segment(9);
    await started.stop();
    const path = await exported({ patient: 'P1' });
    expect(verify(path)).toMatchObject({ whole: true, records: 2, proven: 2 });
    await change(path, (lines) => lines.toSpliced(2, 0, `{"segment":${JSON.stringify(segment)},"previous":"${START.hash}","record":${forged(4).trimEnd()}}`));
    expect(verify(path)).toMatchObject({ whole: false, bad: { file: segment, seq: 4, kind: 'added' } });
  });

  it('a segment that stands twice in an export, and is only right the second time', async () => {
    const started = await start();
    const segment = await started.segment(3);
    await started.stop();
    const path = await exported();
    expect(verify(path)).toMatchObject({ whole: true });
    const block = `{"segment":${JSON.stringify(segment)}}`;
    await change(path, (lines) => lines.toSpliced(lines.findIndex((line) => line.startsWith('{"segment":')), 0, block, forged(0).trimEnd()));
    expect(verify(path)).toMatchObject({ whole: false, bad: { file: segment, kind: 'repeated' } });
  });

  it('a record that stands in an export outside of every segment', async () => {
    const started = await start();
    await started.segment(3);
    await started.stop();
    for (const filter of [{}, { patient: 'P1' }]) {
      const path = await exported(filter);
      expect(verify(path)).toMatchObject({ whole: true });
      await change(path, (lines) => lines.toSpliced(1, 0, forged(7).trimEnd()));
      expect(verify(path)).toMatchObject({ whole: false, bad: { line: 2, kind: 'added' } });
    }
    const path = await exported();
    await appendFile(path, `{"manifest":{}}\n${forged(7)}`);
    expect(verify(path)).toMatchObject({ whole: false });
  });

  it('records behind a line that is too long to be read, in an export and in the register', async () => {
    const started = await start();
    await started.segment(3);
    await started.stop();
    const path = await exported();
    const long = `${'x'.repeat(40 << 20)}\n`;
    await appendFile(path, `${long}${forged(7)}`);
    expect(verify(path)).toMatchObject({ whole: false, bad: { file: 'export', kind: 'added' } });
    await appendFile(join(audit, 'checkpoints.ndjson'), long);
    expect(verify()).toMatchObject({ whole: false, bad: { file: 'checkpoints.ndjson', kind: 'edited' } });
    await expect(start()).rejects.toThrow('longer than any checkpoint');
  });

  it('a file of one record, where a segment that was just opened would have its header', async () => {
    const first = await start();
    await first.stop();
    await writeFile(join(audit, '20261122T090000.000Z-t9.jsonl'), forged(0));
    expect(verify()).toMatchObject({ whole: false, bad: { file: '20261122T090000.000Z-t9.jsonl', kind: 'added' } });
    const second = await start();
    expect(warnings).toEqual(['audit file 20261122T090000.000Z-t9.jsonl was not written by this gateway']);
    await second.stop();
    expect(verify()).toMatchObject({ whole: false, bad: { kind: 'added' } });
  });

  it('records that zstdcat shows behind the last of a frame, packed by another program', async () => {
    const started = await start();
    const segment = await started.segment(9);
    await started.stop();
    await compressSegment(audit, segment, (await readFile(join(audit, segment))).length);
    expect(verify()).toMatchObject({ whole: true });
    const path = join(audit, `${segment}.zst`);
    const octets = await readFile(path);
    const table = octets.subarray(-(8 + 8 + 9));
    const hidden = gzipSync(forged(10));
    table.writeUInt32LE(table.readUInt32LE(8) + hidden.length, 8);
    await writeFile(path, Buffer.concat([octets.subarray(0, -table.length), hidden, table]));
    expect(verify()).toMatchObject({ whole: false, bad: { file: segment, kind: 'edited' } });
  });

  it('a compressed segment beside the plain one, which is not the same', async () => {
    const started = await start();
    const [one, other] = [await started.segment(9), await started.segment(5)];
    await started.stop();
    const plain = join(audit, one);
    await copyFile(plain, join(root, 'kept'));
    await compressSegment(audit, one, (await readFile(plain)).length);
    await copyFile(join(root, 'kept'), plain);
    // As a kill leaves them, between two steps of compressing.
    expect(verify()).toMatchObject({ whole: true, segments: 3 });
    await compressSegment(audit, other, (await readFile(join(audit, other))).length);
    await copyFile(join(audit, `${other}.zst`), `${plain}.zst`);
    expect(verify()).toMatchObject({ whole: false, bad: { file: one, kind: 'added' } });
  });

  it('an end that was cut off where the checkpoint that had seen it is one of thousands, of which not all are kept', () => {
    const key = makeAuditKey(root);
    let previous = NO_CHECKPOINT;
    // The last one is of the start that found the segment cut.
    const lines = Array.from({ length: 2_049 }, (_, checkpoint) => {
      const seq = checkpoint === 2_048 ? 2_046 : checkpoint;
      const line = signLine({
        checkpoint, time: '2026-11-22T08:00:00.000Z', kind: 'checkpoint', gateway: key.name, start: 1, previous, segments: [{ segment: 'cut.jsonl', seq, hash: digest(String(seq)), octets: seq, state: 'open' }],
      }, key);
      previous = checkpointHash(line);
      return line;
    });
    const evidence: Pick<Evidence, 'register' | 'partial'> = {
      partial: false,
      register(each) {
        for (const line of lines) each(line);
        return { torn: 0 };
      },
    };
    expect(readBook(evidence as Evidence, readPublicKey(key.publicPem), undefined).segments.get('cut.jsonl')?.most.seq).toBe(2_047);
  });

  it('an audit that somebody has written anew with a key of his own, by an anchor that has none of his checkpoints', async () => {
    const first = await start();
    await first.segment(3);
    await first.stop();
    expect(verify(audit, { anchored: true })).toMatchObject({ whole: true });
    const real = await readFile(anchor);
    await rm(audit, { recursive: true });
    await rm(join(root, 'audit.key'));
    const second = await start();
    await second.segment(3);
    await second.stop();
    await writeFile(anchor, real);
    expect(verify(audit, { anchored: true })).toMatchObject({ whole: false, bad: { file: 'anchor', kind: 'removed' } });
  });

  it('a filtered export whose checkpoints are others than those of the same numbers in the anchor', async () => {
    const first = await start();
    await first.segment(3);
    await first.stop();
    const real = await readFile(anchor);
    await rm(audit, { recursive: true });
    clock += 1;
    const second = await start();
    await second.segment(3);
    await second.stop();
    await writeFile(anchor, real);
    expect(verify(await exported({ patient: 'P1' }), { anchored: true })).toMatchObject({ whole: false, bad: { kind: 'rewritten' } });
  });
});

it('a pipe among the segments holds up neither verifying nor a start', { timeout: 10_000 }, async () => {
  await (await start()).stop();
  execFileSync('mkfifo', [join(audit, '20261122T090000.000Z-t9.jsonl')]);
  expect(verify().records).toBe(0);
  await expect((await start()).stop()).resolves.toBeUndefined();
});

describe('pruning', () => {
  it('takes nothing for old that was written while the clock stood in 1970', async () => {
    const year = clock;
    await (await start()).stop();
    clock = 1_000_000;
    const found = await start();
    const segment = await found.segment(3);
    clock = year + 60_000;
    expect(await found.archive.prune({ who: 'cron', reason: 'routine', confirm: false })).toMatchObject({ due: [], held: [] });
    clock += 8 * YEAR;
    expect((await found.archive.prune({ who: 'cron', reason: 'routine', confirm: false })).due).toContainEqual(expect.objectContaining({ segment }));
    await found.stop();
  });

  it('goes by no register that somebody has edited: neither by a time moved back nor without a hold taken out', async () => {
    const first = await start();
    const segment = await first.segment(3);
    await first.archive.hold({ who: 'Dr Chen', reason: 'case 1' });
    await first.stop();
    const path = join(audit, 'checkpoints.ndjson');
    const register = await readFile(path, 'utf8');
    await writeFile(path, register.replaceAll('"2026-11-22', '"2006-11-22').replaceAll('"hold":{"op":"add"', '"hold":{"op":"xxx"').split('\n').with(-2, register.split('\n').at(-2) ?? '').join('\n'));
    const second = await start();
    await expect(second.archive.prune({ who: 'cron', reason: 'routine', confirm: true })).rejects.toThrow(ArchiveError);
    expect(await readdir(audit)).toContain(segment);
    await second.stop();
  });
});
