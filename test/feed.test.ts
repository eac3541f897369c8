import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSafeBoard } from '../src/audit/board.ts';
import { compressSegment } from '../src/audit/compressed.ts';
import { createFeed, type Beginning, type Consumer, type Feed, type FedRecord } from '../src/audit/feed.ts';
import { forgetPosition, hasPassed, readPositions } from '../src/audit/positions.ts';
import { openRegister } from '../src/audit/register.ts';
import { registeredSegments } from '../src/audit/registered.ts';
import { openAuditWriter, type AuditWriter } from '../src/audit/writer.ts';

let directory: string;
let audit: string;
let positions: string;
let board = createSafeBoard(3);
const feeds: Feed[] = [];
const writers: AuditWriter[] = [];
const warnings: string[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'wardgate-feed-'));
  audit = join(directory, 'audit');
  positions = join(directory, 'feed');
  board = createSafeBoard(3);
  warnings.length = 0;
});

afterEach(async () => {
  await Promise.all(feeds.splice(0).map((feed) => feed.close(0)));
  for (const writer of writers.splice(0)) writer.close();
  rmSync(directory, { recursive: true, force: true });
});

function open(writer: string, place: number, openedAt = Date.parse('2026-11-22T10:00:00Z')): AuditWriter {
  const opened = openAuditWriter({ directory: audit, gateway: 'g', start: 1, after: 'a', durability: 'write', board: board.buffer, place }, writer, openedAt);
  writers.push(opened);
  return opened;
}

function add(writer: AuditWriter, detail: string): Promise<void> {
  return writer.append({ time: new Date().toISOString(), event: 'request', result: 'permitted', detail });
}

function start(registered?: (segment: string) => boolean): Feed {
  const feed = createFeed({ directory: audit, positions, board, ...(registered === undefined ? {} : { registered }), now: () => Date.now(), warn: (detail) => warnings.push(detail) });
  feeds.push(feed);
  return feed;
}

/** A consumer that keeps what it gets. */
function keeper(name: string, parts: Partial<Consumer> = {}): Consumer & { readonly got: FedRecord[]; details(): readonly (string | undefined)[] } {
  const got: FedRecord[] = [];
  return {
    name, got,
    details: () => got.map(({ record }) => record.detail),
    async take(batch) {
      got.push(...batch);
    },
    ...parts,
  };
}

function begin(consumer: Consumer, beginning: Beginning = 'start'): Feed {
  const feed = start();
  feed.add(consumer, beginning);
  return feed;
}

describe('the feed', () => {
  test('hands out nothing of a file that somebody has put beside the segments: neither the board nor the register knows it', async () => {
    const register = openRegister({ directory: audit, state: directory, anchor: undefined, now: () => Date.now(), warn: () => undefined });
    const before = open('main', 0);
    register.checkpoint((await before.positions()).segments);
    await add(before, 'of a run before');
    before.close();
    register.ended(before.current());
    register.checkpoint([]);
    const consumer = keeper('one');
    writeFileSync(join(audit, '20261122T110000.000Z-t9.jsonl'), readFileSync(join(audit, before.current()), 'utf8').replace('of a run before', 'made up'));
    const now = open('t0', 1, Date.parse('2026-11-22T12:00:00Z'));
    await add(now, 'of this run');
    start(registeredSegments(audit)).add(consumer, 'everything');
    await expect.poll(consumer.details).toEqual(['of a run before', 'of this run']);
    await add(now, 'more');
    await expect.poll(consumer.details).toEqual(['of a run before', 'of this run', 'more']);
    expect(warnings).toEqual(['20261122T110000.000Z-t9.jsonl is no segment of this gateway: nobody gets what is in it']);
    register.close();
  });

  test('hands out the records of all writers as they come, each with its place, those of a segment in their order', async () => {
    const [main, thread] = [open('main', 0), open('t0', 1)];
    const consumer = keeper('one');
    begin(consumer);
    for (const detail of ['1', '2', '3']) await Promise.all([add(main, `main ${detail}`), add(thread, `t0 ${detail}`)]);
    await expect.poll(() => consumer.got.length).toBe(6);
    expect(consumer.details().filter((detail) => detail?.startsWith('t0'))).toEqual(['t0 1', 't0 2', 't0 3']);
    expect(consumer.got.map(({ segment, seq }) => `${segment} ${seq}`).sort()).toEqual(['main', 't0'].flatMap((writer) => [1, 2, 3].map((seq) => `20261122T100000.000Z-${writer}.jsonl ${seq}`)));
    expect(Object.keys(consumer.got[0]?.record ?? {})).toEqual(['time', 'event', 'result', 'detail']);
  });

  test('hands out nothing that its writer has not said is safe, though it lies in the file already', async () => {
    const writer = open('main', 0);
    await add(writer, 'safe');
    const file = join(audit, '20261122T100000.000Z-main.jsonl');
    const safe = readFileSync(file);
    // A batch that is written and whose flush fails is cut off again.
    writeFileSync(file, `${safe.toString('utf8')}{"time":"x","event":"request","detail":"never was","seq":2,"hash":"${'B'.repeat(43)}"}\n`);
    const consumer = keeper('one');
    begin(consumer);
    await expect.poll(() => consumer.details()).toEqual(['safe']);
    truncateSync(file, safe.length);
    await add(writer, 'after');
    await expect.poll(() => consumer.details()).toEqual(['safe', 'after']);
  });

  test('goes on with the next segment of a writer, and passes the one that has ended', async () => {
    const first = open('main', 0);
    const consumer = keeper('one');
    begin(consumer);
    await add(first, '1');
    first.close();
    const second = open('main', 0, Date.parse('2026-11-22T11:00:00Z'));
    await add(second, '2');
    await expect.poll(() => consumer.details()).toEqual(['1', '2']);
    await expect.poll(() => readPositions(positions).map((position) => hasPassed(position, '20261122T100000.000Z-main.jsonl', 1e9))).toEqual([true]);
  });

  test('reads segments that have been compressed meanwhile, from wherever a consumer is in them', async () => {
    const writer = open('main', 0);
    const details = Array.from({ length: 3_000 }, (_, index) => `${index} ${'x'.repeat(700)}`);
    await Promise.all(details.map((detail) => add(writer, detail)));
    const some = keeper('some', {
      async take(batch, passed) {
        some.got.push(...batch.slice(0, 100));
        passed(100);
        return new Promise(() => undefined);
      },
    });
    const feed = begin(some);
    await expect.poll(() => feed.report()[0]?.delivered).toBe(100);
    await feed.remove('some');
    writer.close();
    const segment = '20261122T100000.000Z-main.jsonl';
    await compressSegment(audit, segment, statSync(join(audit, segment)).size);
    rmSync(join(audit, segment), { force: true });
    expect(readdirSync(audit)).toEqual([`${segment}.zst`]);
    const [rest, all] = [keeper('some'), keeper('all')];
    feed.add(rest, 'now');
    feed.add(all, 'everything');
    await expect.poll(() => [rest.got.length, all.got.length]).toEqual([2_900, 3_000]);
    expect([...some.details(), ...rest.details()]).toEqual(details);
    expect(all.details()).toEqual(details);
  });

  test('gives a segment whose name sorts before others its turn as well: clocks go back', async () => {
    const first = open('main', 0);
    const consumer = keeper('one');
    begin(consumer);
    await add(first, 'today');
    first.close();
    await expect.poll(() => consumer.details()).toEqual(['today']);
    const second = open('main', 0, Date.parse('2026-11-21T10:00:00Z'));
    await add(second, 'yesterday');
    await expect.poll(() => consumer.details()).toEqual(['today', 'yesterday']);
  });

  test.each([
    ['everything', ['old', 'open', 'new']],
    ['start', ['open', 'new']],
    ['now', ['new']],
  ] as const)('begins a new consumer with %s that there is', async (beginning, expected) => {
    const old = open('main', 0, Date.parse('2026-11-21T10:00:00Z'));
    await add(old, 'old');
    old.close();
    const writer = open('main', 0);
    await add(writer, 'open');
    const consumer = keeper('one');
    begin(consumer, beginning);
    await add(writer, 'new');
    await expect.poll(() => consumer.details()).toEqual(expected);
  });
});

describe('a position', () => {
  test('outlives a process that is killed: nothing is lost, and what was safe with the consumer is not repeated', async () => {
    const writer = open('main', 0);
    const consumer = keeper('one');
    begin(consumer);
    await add(writer, '1');
    await expect.poll(() => consumer.details()).toEqual(['1']);
    await expect.poll(() => readPositions(positions)[0]?.segments.size).toBe(1);
    // Nobody closes the first feed: what it has on the disk is what a kill leaves.
    const again = keeper('one');
    begin(again, 'now');
    await add(writer, '2');
    await expect.poll(() => again.details()).toEqual(['2']);
  });

  test('advances within a batch by what the consumer says is safe', async () => {
    const writer = open('main', 0);
    await Promise.all(['1', '2', '3'].map((detail) => add(writer, detail)));
    let tries = 0;
    const consumer = keeper('one', {
      async take(batch, passed) {
        consumer.got.push(...batch);
        if (tries++ > 0) return;
        passed(2);
        throw new Error('the receiver is gone');
      },
    });
    begin(consumer);
    await expect.poll(() => consumer.details()).toEqual(['1', '2', '3', '3']);
  });

  test('that cannot be read is that of somebody who has nothing yet', async () => {
    const writer = open('main', 0);
    const consumer = keeper('one');
    await begin(consumer).close(0);
    writeFileSync(join(positions, 'one.json'), '');
    writeFileSync(join(positions, 'one.now'), 'half a li');
    await add(writer, '1');
    begin(consumer, 'now');
    await expect.poll(() => consumer.details()).toEqual(['1']);
  });

  test('is kept when its consumer goes, until it is forgotten', async () => {
    const writer = open('main', 0);
    const feed = begin(keeper('one'));
    await add(writer, '1');
    await expect.poll(() => feed.report()[0]?.delivered).toBe(1);
    await feed.remove('one');
    await add(writer, '2');
    const again = keeper('one');
    feed.add(again, 'now');
    await expect.poll(() => again.details()).toEqual(['2']);
    await feed.remove('one');
    expect(forgetPosition(positions, 'one')).toBe(true);
    expect(readPositions(positions)).toEqual([]);
    expect(forgetPosition(positions, 'one')).toBe(false);
  });
});

describe('a consumer that fails', () => {
  test('gets the same batch again, and what was handed out behind it, in order', async () => {
    const writer = open('main', 0);
    const batches: string[][] = [];
    const settle: ((error?: Error) => void)[] = [];
    const consumer: Consumer = {
      name: 'one', window: 2,
      take: (batch) => new Promise((resolve, reject) => {
        batches.push(batch.map(({ record }) => record.detail ?? ''));
        settle.push((error) => (error === undefined ? resolve() : reject(error)));
      }),
    };
    const feed = begin(consumer);
    await add(writer, '1');
    await expect.poll(() => batches).toEqual([['1']]);
    await add(writer, '2');
    await expect.poll(() => batches).toEqual([['1'], ['2']]);
    settle[1]?.();
    settle[0]?.(new Error('reset'));
    await expect.poll(() => feed.report()[0]).toMatchObject({ failing: 'reset', failures: 1, delivered: 0, lag: { records: 2 } });
    await expect.poll(() => batches).toEqual([['1'], ['2'], ['1', '2']]);
    settle[2]?.();
    await expect.poll(() => feed.report()[0]).toMatchObject({ delivered: 2, repeated: 2, lag: { records: 0, seconds: 0 } });
    expect(feed.report()[0]?.failing).toBeUndefined();
    expect(warnings).toEqual(['one takes nothing: reset', 'one takes records again']);
  });

  test('or never answers holds up nobody else', async () => {
    const writer = open('main', 0);
    const feed = begin(keeper('stuck', { take: () => new Promise(() => undefined) }));
    const consumer = keeper('well');
    feed.add(consumer, 'start');
    const details = Array.from({ length: 1_200 }, (_, index) => String(index));
    await Promise.all(details.map((detail) => add(writer, detail)));
    await expect.poll(() => consumer.got.length).toBe(1_200);
    expect(consumer.details()).toEqual(details);
    expect(feed.report().find(({ name }) => name === 'stuck')?.lag.records).toBe(1_200);
  });
});
