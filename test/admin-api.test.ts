import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, test } from 'vitest';
import { answerCall, ON_THE_SOCKET, type Caller } from '../src/admin/answer-call.ts';
import { CALLS } from '../src/admin/calls.ts';
import { openApiText } from '../src/admin/openapi.ts';
import type { AdminTarget } from '../src/admin/target.ts';
import { createTurns } from '../src/admin/turns.ts';
import type { AuditRecord } from '../src/audit/record.ts';

const operator: Caller = { role: 'operator', who: 'chen', fields: { fingerprint: 'ab' } };
const records: AuditRecord[] = [];
const done: unknown[][] = [];

const target = {
  status: () => Promise.resolve({ pid: 1, deny_list: Array.from({ length: 1_500 }, (_, index) => index) }),
  reload: () => Promise.resolve(),
  deny: (...all: unknown[]) => Promise.resolve(void done.push(all)),
  reinstate: (...all: unknown[]) => Promise.resolve(done.push(all) > 0),
  incident: { operatorsHit: () => Promise.resolve({ own: false, warnings: [] }) },
  grants: () => [],
  review: () => Promise.reject(Object.assign(new Error('it is still open'), { code: 'grant_unfit' })),
} as unknown as AdminTarget;

function ask(method: string, path: string, body: object | string | undefined, caller: Caller) {
  const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  return answerCall({ method, path, query: '', text }, caller, { target, record: (record) => Promise.resolve(void records.push(record)), now: () => 0 });
}

const deferred: (() => void)[] = [];

test('a caller has two answers at a time, others wait their turn, too many are refused, and nobody waits for another caller', async () => {
  const turns = createTurns();
  const held = (): Promise<void> => new Promise((resolve) => void deferred.push(resolve));
  const asked = Array.from({ length: 40 }, () => turns('watch', held));
  expect([deferred.length, asked.filter((one) => one === undefined).length]).toEqual([2, 6]);
  await expect(turns('chen', () => Promise.reject(new Error('x')))).rejects.toThrow('x');
  const all = Promise.all(asked);
  for (let done = 0; done < 34; done++) {
    deferred[done]?.();
    await expect.poll(() => deferred.length, { interval: 1 }).toBe(Math.min(34, done + 3));
  }
  await all;
  await expect(turns('watch', () => Promise.resolve(1))).resolves.toBe(1);
});

test('an operator gets the newest of a long deny list and how long it is, the socket all of it', async () => {
  const [there, here] = await Promise.all([operator, ON_THE_SOCKET].map((caller) => ask('GET', '/v1/status', undefined, caller)));
  expect(there).toMatchObject({ answer: { denied: 1_500, deny_list: { length: 1_000, 999: 1_499 } } });
  expect(here).toMatchObject({ answer: { deny_list: { length: 1_500 } } });
});

test('what gives somebody a way in does nothing that cannot be put on record', async () => {
  const given: string[] = [];
  const give = (what: string) => () => Promise.resolve(void given.push(what));
  const giving = {
    reinstate: give('reinstate'), resume: give('resume'), incident: { lift: give('lift') }, unknownRole: () => undefined,
    factors: () => ({ unlock: give('unlock'), invite: give('invite'), registerPhone: give('phone') }),
  } as unknown as AdminTarget;
  const whom = { role: 'doctor', id: 'x', who: 'chen', reason: 'back again' };
  for (const [path, more] of [['factor/unlock', whom], ['factor/invite', { ...whom, lifetime: 1_000 }], ['factor/phone', { ...whom, phone: '+491701234567', card: '1' }], ['resume', { route: 'x', who: 'chen' }], ['isolate/lift', { device: 'x', who: 'chen' }]] as const) {
    const called = { method: 'POST', path: `/v1/${path}`, query: '', text: JSON.stringify(more) };
    expect(await answerCall(called, ON_THE_SOCKET, { target: giving, record: () => Promise.reject(new Error('disk full')), now: () => 0 })).toMatchObject({ kind: 'failed', detail: 'disk full' });
  }
  expect(given).toEqual([]);
});

const subject = { kind: 'fingerprint', fingerprint: 'a'.repeat(64) };

describe('the table of calls', () => {
  test('is described in config/admin-api.json (node scripts/write-schema.ts makes it anew)', () => {
    expect(readFileSync(new URL('../config/admin-api.json', import.meta.url), 'utf8')).toBe(openApiText());
  });

  test('is described as OpenAPI 3.1 has it, by that specification\'s own schema', async () => {
    const validator = new Validator();
    expect(await validator.validate(openApiText())).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
  });

  test('names each method and path once, and demands why of whatever changes something', () => {
    const named = CALLS.map(({ method, path }) => `${method} ${path}`);
    expect(new Set(named).size).toBe(named.length);
    const silent = CALLS.filter(({ role, input }) => role === 'operator' && !/"(?:reason|note|detail)"/.test(JSON.stringify(input?.toJSONSchema())));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });
});

describe('a call', () => {
  test('changes something on behalf of the certificate, never of whom the body names', async () => {
    expect(await ask('POST', '/v1/deny', { ...subject, reason: 'stolen', who: 'somebody else' }, operator)).toMatchObject({ kind: 'refused', status: 400, detail: expect.stringContaining('who') });
    expect(await ask('POST', '/v1/deny', { ...subject, reason: 'stolen' }, operator)).toEqual({ kind: 'answer', answer: { denied: true } });
    expect(done.at(-1)).toEqual([{ ...subject, reason: 'stolen', who: 'chen' }]);
  });

  test('that changes something is refused without a reason, and to whoever may only look', async () => {
    expect(await ask('POST', '/v1/reload', {}, operator)).toMatchObject({ kind: 'refused', status: 400, detail: expect.stringContaining('reason') });
    expect(await ask('POST', '/v1/deny', { ...subject, reason: ' \n' }, operator)).toMatchObject({ kind: 'refused', status: 400, detail: 'reason: expected words' });
    expect(await ask('POST', '/v1/reload', { reason: 'x' }, { ...operator, role: 'read_only' })).toMatchObject({ kind: 'refused', status: 403 });
    expect(await ask('GET', '/v1/status', undefined, { ...operator, role: 'read_only' })).toMatchObject({ kind: 'answer', answer: { pid: 1, denied: 1_500 } });
  });

  test('whose change has no other record that says why gets one, with the certificate', async () => {
    await ask('POST', '/v1/reinstate', { ...subject, reason: 'found again' }, operator);
    expect(done.at(-1)).toEqual([subject, 'chen']);
    expect(records.at(-1)).toEqual({ time: '1970-01-01T00:00:00.000Z', event: 'administration', result: 'done', fingerprint: 'ab', who: 'chen', detail: 'POST /v1/reinstate: found again' });
  });

  test('on the socket says itself on whose behalf, and may be of an older command that gives no reason', async () => {
    expect(await ask('POST', '/v1/reinstate', subject, ON_THE_SOCKET)).toMatchObject({ kind: 'refused', status: 400, detail: expect.stringContaining('who') });
    expect(await ask('POST', '/v1/reinstate', { ...subject, who: 'root' }, ON_THE_SOCKET)).toMatchObject({ kind: 'answer' });
    expect(records.at(-1)).toMatchObject({ who: 'root', detail: 'POST /v1/reinstate: none given' });
  });

  test('that is not there, cannot be read, or is about what is in no state for it says so', async () => {
    expect(await ask('POST', '/v1/status', {}, operator)).toMatchObject({ status: 404 });
    expect(await ask('POST', '/v1/factor/invite', {}, operator)).toMatchObject({ status: 404 });
    expect(await ask('POST', '/v1/deny', '{', operator)).toMatchObject({ status: 400, detail: 'the input is not JSON' });
    expect(await ask('POST', '/v1/deny', { ...subject, reason: 'x', more: 1 }, operator)).toMatchObject({ status: 400 });
    expect(await ask('POST', '/v1/break-glass/review', { id: 'x', note: 'y' }, operator)).toMatchObject({ status: 409, detail: 'it is still open' });
  });
});
