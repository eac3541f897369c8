import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { deniedOf, openDenyList, type DenyChange } from '../src/store/deny-list.ts';
import { createDenyTable, currentEpoch, denyKey, isDenied, openDenyTable } from '../src/store/deny-table.ts';

let state: string;

beforeEach(async () => {
  state = await mkdtemp(join(tmpdir(), 'wardgate-deny-'));
});

afterEach(() => rm(state, { recursive: true, force: true }));

const deny = (fingerprint: string, at = '2026-01-01T00:00:00.000Z', expires?: string): DenyChange => ({
  op: 'deny', kind: 'fingerprint', fingerprint, reason: 'lost', who: 'test', at, ...(expires === undefined ? {} : { expires }),
});
const lift = (fingerprint: string, at: string): DenyChange => ({ op: 'reinstate', kind: 'fingerprint', fingerprint, who: 'test', at });
const file = (): string => join(state, 'denylist.jsonl');

describe('the deny list', () => {
  it('is seen by another thread\'s view of the table, and moves the epoch after the key', () => {
    const table = createDenyTable();
    const view = openDenyTable(table.buffer);
    const list = openDenyList(state, table);
    const before = currentEpoch(view);
    list.apply(deny('aa'));
    expect(isDenied(view, denyKey('fingerprint', 'aa'))).toBe(true);
    expect(currentEpoch(view)).toBe(before + 1);
    list.apply(lift('aa', '2026-01-02T00:00:00.000Z'));
    expect(isDenied(view, denyKey('fingerprint', 'aa'))).toBe(false);
    list.close();
  });

  it('comes back after a kill, without the line that was never finished', async () => {
    const first = openDenyList(state, createDenyTable());
    first.apply(deny('aa'));
    first.apply(deny('bb'));
    first.apply(lift('aa', '2026-01-02T00:00:00.000Z'));
    await appendFile(file(), '{"op":"deny","kind":"finger');
    const table = createDenyTable();
    const second = openDenyList(state, table);
    expect(second.entries().map((entry) => 'fingerprint' in entry && entry.fingerprint)).toEqual(['bb']);
    second.apply(deny('cc'));
    second.close();
    expect((await readFile(file(), 'utf8')).trimEnd().split('\n')).toHaveLength(4);
  });

  it.each(['{"op":"deny","kind":"departed","id":"x","told_by":"nobody","reason":"x","who":"x","at":"x"}\n', 'garbage\n', '{"op":"deny"}\n', '[]\n', '{"op":"deny","kind":"fingerprint","fingerprint":"aa","who":"x","at":"x"}\n'])('that holds %j stops the start, with the place', async (text) => {
    await writeFile(file(), text);
    expect(() => openDenyList(state, createDenyTable())).toThrow(/denylist\.jsonl:1: not a deny list entry/);
  });

  it('keeps apart what different systems have told, and what was said by hand', () => {
    const list = openDenyList(state, createDenyTable());
    const by = (told_by?: 'hr' | 'cmdb') => ({ kind: 'departed', id: 'X', ...(told_by === undefined ? {} : { told_by }) }) as const;
    for (const one of [by(), by('hr'), by('cmdb')]) list.apply({ op: 'deny', ...one, reason: 'left', who: 'test', at: '2026-01-01T00:00:00.000Z' });
    list.apply({ op: 'reinstate', ...by('hr'), who: 'test', at: '2026-01-02T00:00:00.000Z' });
    expect([by(), by('hr'), by('cmdb')].map(list.denies)).toEqual([true, false, true]);
    expect(deniedOf(list, { kind: 'identity', id: 'x' })).toEqual([{ kind: 'departed', id: 'x' }, { kind: 'departed', id: 'x', told_by: 'cmdb' }]);
    list.close();
  });

  it('lets the later change win, and a denial over a tie', () => {
    const list = openDenyList(state, createDenyTable());
    list.apply(deny('aa', '2026-01-02T00:00:00.000Z'));
    expect(list.isNews(lift('aa', '2026-01-01T00:00:00.000Z'))).toBe(false);
    expect(list.isNews(lift('aa', '2026-01-02T00:00:00.000Z'))).toBe(false);
    expect(list.isNews(lift('aa', '2026-01-03T00:00:00.000Z'))).toBe(true);
    list.apply(lift('aa', '2026-01-03T00:00:00.000Z'));
    expect(list.isNews(deny('aa', '2026-01-03T00:00:00.000Z'))).toBe(true);
    list.close();
  });

  it('lifts what has expired, for good, and lets no expiry win over an extension', () => {
    const table = createDenyTable();
    const list = openDenyList(state, table);
    const inAMinute = new Date(Date.now() + 60_000).toISOString();
    const inTwo = new Date(Date.now() + 120_000).toISOString();
    list.apply(deny('aa', new Date().toISOString(), inAMinute));
    expect(list.expire(Date.now())).toHaveLength(0);
    expect(list.expire(Date.parse(inAMinute))).toHaveLength(1);
    expect(isDenied(table, denyKey('fingerprint', 'aa'))).toBe(false);
    const extended = deny('aa', list.timeOf({ kind: 'fingerprint', fingerprint: 'aa' }, Date.now()), inTwo);
    expect(list.isNews(extended)).toBe(true);
    list.apply(extended);
    expect(list.expire(Date.parse(inAMinute))).toHaveLength(0);
    expect(isDenied(table, denyKey('fingerprint', 'aa'))).toBe(true);
    list.close();
  });

  it('has in force again what expired only by a clock that was ahead, at the start too, and nothing that was lifted or expired meanwhile', () => {
    const table = createDenyTable();
    const inAMinute = new Date(Date.now() + 60_000).toISOString();
    const list = openDenyList(state, table);
    list.apply(deny('aa', new Date().toISOString(), inAMinute));
    list.apply(deny('bb', new Date().toISOString(), inAMinute));
    list.expire(Date.parse(inAMinute) + 1);
    list.apply(lift('bb', inAMinute));
    const before = currentEpoch(table);
    list.expire(Date.now());
    expect(['aa', 'bb'].map((name) => isDenied(table, denyKey('fingerprint', name)))).toEqual([true, false]);
    expect(currentEpoch(table)).toBe(before + 1);
    list.close();
    vi.useFakeTimers({ toFake: ['Date'], now: Date.parse(inAMinute) + 1 });
    const again = createDenyTable();
    const late = openDenyList(state, again);
    vi.useRealTimers();
    expect(isDenied(again, denyKey('fingerprint', 'aa'))).toBe(false);
    late.expire(Date.now());
    expect(isDenied(again, denyKey('fingerprint', 'aa'))).toBe(true);
    late.close();
  });

  it('does not bring back what expired while nobody looked', async () => {
    await writeFile(file(), `${JSON.stringify(deny('aa', '2026-01-01T00:00:00.000Z', '2026-01-02T00:00:00.000Z'))}\n`);
    const table = createDenyTable();
    const list = openDenyList(state, table);
    expect(list.entries()).toHaveLength(0);
    expect(isDenied(table, denyKey('fingerprint', 'aa'))).toBe(false);
    list.close();
  });

  it('dates a change after what is known of its subject, though that came from a faster clock', () => {
    const list = openDenyList(state, createDenyTable());
    const ahead = new Date(Date.now() + 5_000).toISOString();
    list.apply(lift('aa', ahead));
    expect(list.timeOf({ kind: 'fingerprint', fingerprint: 'aa' }, Date.now()) > ahead).toBe(true);
    list.close();
  });

  it('writes a long journal anew with the same content', async () => {
    const list = openDenyList(state, createDenyTable());
    list.close();
    const lines = Array.from({ length: 1_500 }, (_, index) => JSON.stringify(index % 2 === 0 ? deny('aa', new Date(index).toISOString()) : lift('aa', new Date(index).toISOString())));
    await writeFile(file(), `${[...lines, JSON.stringify(deny('bb'))].join('\n')}\n`);
    const again = openDenyList(state, createDenyTable());
    expect(again.entries()).toHaveLength(1);
    again.close();
    expect((await readFile(file(), 'utf8')).trimEnd().split('\n')).toHaveLength(2);
  });

  it('says so when it is full instead of forgetting', () => {
    const table = createDenyTable();
    const list = openDenyList(state, table);
    for (let index = 0; index < table.slots; index++) table.states[index] = 1;
    Atomics.store(table.header, 1, table.slots);
    expect(() => list.apply(deny('aa'))).toThrow(/full/);
    list.close();
  });
});
