import { existsSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startFeeding, type Feeding } from './support/feeding.ts';

let feeding: Feeding;

beforeEach(async () => {
  feeding = await startFeeding();
});

afterEach(() => feeding.stop());

function idsIn(name: string): readonly string[] {
  const path = feeding.path(name);
  return existsSync(path) ? [...readFileSync(path, 'utf8').matchAll(/^\{.*"request_id":"(\w+)".*\}$/gm)].map(([, id = '']) => id) : [];
}

describe('a file sink', () => {
  test('whose disk is full keeps everything for it, and writes it once there is room', async () => {
    symlinkSync('/dev/full', feeding.path('lines.jsonl'));
    feeding.add({ kind: 'file', name: 'lines', history: false, file: feeding.path('lines.jsonl'), form: 'json' });
    const ids = await feeding.record(3);
    await expect.poll(() => feeding.report()?.failing).toMatch(/ENOSPC/);
    expect(feeding.report()).toMatchObject({ delivered: 0, lag: { records: 3 } });
    unlinkSync(feeding.path('lines.jsonl'));
    await expect.poll(() => feeding.report()).toMatchObject({ delivered: 3, lag: { records: 0 } });
    expect(idsIn('lines.jsonl')).toEqual(ids);
  });

  test('begins a line of its own behind half a line that a kill left', async () => {
    writeFileSync(feeding.path('lines.jsonl'), '{"half":');
    feeding.add({ kind: 'file', name: 'lines', history: false, file: feeding.path('lines.jsonl'), form: 'json' });
    const ids = await feeding.record(1);
    await expect.poll(() => idsIn('lines.jsonl')).toEqual(ids);
  });
});
