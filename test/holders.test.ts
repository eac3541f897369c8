import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openCustody } from '../src/store/custody.ts';
import { CUSTODY_STATES, CUSTODY_STEPS, takeCustodyStep, type CustodyState, type CustodyStep } from '../src/store/custody-life.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { testCa, type TestCa } from './support/ca.ts';
import { wardgate, type CommandRun } from './support/command.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

/** Written out once more, by hand: nothing else is allowed. */
const ALLOWED: readonly (readonly [from: CustodyState | 'unknown', step: CustodyStep, to: CustodyState])[] = [
  ['unknown', 'give', 'handed_out'], ['handed_out', 'return', 'returned'], ['handed_out', 'lost', 'lost'], ['returned', 'give', 'handed_out'], ['returned', 'recover', 'out_of_service'], ['returned', 'lost', 'lost'],
  ['lost', 'recover', 'revoked'], ['lost', 'write_off', 'written_off'], ['out_of_service', 'revoke', 'revoked'], ['revoked', 'destroy', 'destroyed'], ['written_off', 'recover', 'revoked'],
];

test('no step can be skipped: what is not on the list is refused, and says what has to come first', () => {
  for (const from of ['unknown', ...CUSTODY_STATES] as const) for (const step of CUSTODY_STEPS) {
    const to = ALLOWED.find(([state, allowed]) => state === from && allowed === step)?.[2];
    expect(takeCustodyStep(from, step), `${from} ${step}`).toEqual(to === undefined ? { kind: 'refused', detail: expect.stringMatching(/^it is .+; .+/) } : { kind: 'allowed', state: to });
  }
});

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
let ca: TestCa;

const holder = (step: string, ...more: readonly string[]): Promise<CommandRun> => wardgate(['holder', step, ...more, '-c', gateway.path('wardgate.yaml'), ...(['list', 'show'].includes(step) ? [] : ['--who', 'IT Li', '--dir', ca.directory])]);
const details = async (): Promise<readonly unknown[]> => (await gateway.records()).filter(({ event }) => event === 'evidence').map(({ detail }) => detail);

beforeAll(async () => {
  [pki, ca] = await Promise.all([testPki(), testCa(['Kiosk 9', 'Kiosk 10'])]);
  backend = await startBackend(pki);
  gateway = await startGateway(pki, backend.port, { threads: 1 });
});

afterAll(async () => {
  await gateway.stop();
  await backend.close();
  ca.remove();
});

describe('a USB key', () => {
  test('is handed out and returned, and who has what is listed, what is overdue first of all', async () => {
    expect((await holder('give', 'YK-1', '--to', 'Dr Wang', '--cert', gateway.path('doctor.pem'), '--until', '2020-01-01', '--description', 'blue')).stdout).toMatch(/^YK-1  token \(blue\), handed out to Dr Wang since \S+, OVERDUE since 2020-01-01/);
    await holder('give', 'YK-2', '--to', 'Dr Left\u{1b}[31m\u{202e}');
    expect((await holder('show', 'YK-2')).stdout).toContain('to Dr Left\\u{1b}[31m\\u{202e}');
    expect(await holder('give', 'YK-3', '--to', 'Dr Left', '--until', '2026-02-30')).toMatchObject({ code: 2, stderr: expect.stringContaining('--until: expected a time') });
    expect(await holder('give', 'YK-2', '--to', 'Dr Wang')).toMatchObject({ code: 1, stderr: expect.stringContaining('give is not possible: it is handed out; it has to be returned first') });
    await holder('return', 'YK-2');
    const { stdout } = await holder('list', '--json');
    expect(JSON.parse(stdout)).toMatchObject([{ id: 'YK-1', holder: 'Dr Wang', overdue: true }, { id: 'YK-2', state: 'returned', overdue: false }]);
    expect((await holder('list', '--holder', 'Dr Wang')).stdout.split('\n').filter(Boolean)).toHaveLength(1);
    expect(await holder('list', '--overdue')).toMatchObject({ code: 1, stdout: expect.stringContaining('YK-1') });
    expect(await details()).toEqual(expect.arrayContaining(['token YK-1 is handed out to Dr Wang', 'token YK-2 is returned']));
  });

  test('that is lost lets nobody in any more, from that moment on', async () => {
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    const dry = await holder('lost', 'YK-1', '--note', 'left in the tram', '--dry-run');
    expect(dry.stdout).toContain(`would revoke ${pki.doctor.sha256}`);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(200);
    expect((await holder('lost', 'YK-1', '--note', 'left in the tram')).stdout).toContain(`revoked: ${pki.doctor.sha256}`);
    expect((await ask(pki, gateway.port, '/records', { client: pki.doctor })).status).toBe(403);
    expect((await gateway.records()).find(({ event }) => event === 'revocation')).toMatchObject({ who: 'IT Li', fingerprint: pki.doctor.sha256, detail: 'denied: YK-1 is lost: left in the tram' });
  });

  test('that is lost is destroyed only when it was found, and before a witness; or it is written off', async () => {
    expect((await holder('destroy', 'YK-1', '--note', 'shredded', '--witness', 'Officer Zhao')).stderr).toContain('it is lost; it has to be found first (wardgate holder recover), or be written off');
    await holder('recover', 'YK-1', '--note', 'the tram company had it');
    expect((await holder('destroy', 'YK-1', '--note', 'shredded', '--witness', 'it  li')).code).toBe(2);
    expect((await holder('destroy', 'YK-1', '--note', 'shredded', '--witness', 'Officer Zhao')).code).toBe(0);
    const { stdout } = await holder('show', 'YK-1');
    expect(stdout.split('\n').filter((line) => /^  \d{4}-/.test(line)).map((line) => line.trim().split('  ')[1])).toEqual([
      'give to Dr Wang, back by 2020-01-01T00:00:00.000Z, on record by IT Li', 'lost, on record by IT Li: left in the tram', 'recover, on record by IT Li: the tram company had it', 'destroy, on record by IT Li, witnessed by Officer Zhao: shredded',
    ]);
    await holder('lost', 'YK-2', '--note', 'not on the shelf');
    expect((await holder('write-off', 'YK-2', '--note', 'searched for a year', '--witness', 'Officer Zhao')).code).toBe(0);
    expect((await holder('list')).stdout.trim()).toBe('none');
    expect((await holder('list', '--all')).stdout.split('\n').filter(Boolean)).toHaveLength(2);
  });
});

test('a scrapped device is returned, recovered, revoked and destroyed, in this order alone; its certificate goes the same way at the CA', async () => {
  const issued = ca.first.get('Kiosk 9')?.entry;
  if (issued === undefined) throw new Error('a certificate of the kiosk');
  const certificate = await ca.write('kiosk.pem', issued.certificate);
  await holder('give', 'kiosk-9', '--device', '--to', 'Ward 3', '--cert', certificate);
  const states: string[] = [];
  for (const [step, ...more] of [['destroy', '--note', 'x', '--witness', 'Officer Zhao'], ['revoke'], ['recover'], ['return'], ['destroy', '--note', 'x', '--witness', 'Officer Zhao'], ['revoke'], ['recover', '--note', 'screen broken'], ['destroy', '--note', 'x', '--witness', 'Officer Zhao'], ['revoke'], ['destroy', '--note', 'disk shredded', '--witness', 'Officer Zhao']] as const) {
    states.push(`${step} ${(await holder(step, 'kiosk-9', ...more)).code} ${ca.office.entry(issued.serial).state}`);
  }
  expect(states).toEqual([
    `destroy 1 ${issued.state}`, `revoke 1 ${issued.state}`, `recover 1 ${issued.state}`, `return 0 ${issued.state}`, `destroy 1 ${issued.state}`, `revoke 1 ${issued.state}`, `recover 0 ${issued.state}`, `destroy 1 ${issued.state}`,
    'revoke 0 revoked', 'destroy 0 destroyed',
  ]);
});

test('a device that was revoked while its CA was not named says so, and its destruction revokes it at the CA first', async () => {
  const issued = ca.first.get('Kiosk 10')?.entry;
  if (issued === undefined) throw new Error('a certificate of the kiosk');
  const without = (step: string, ...more: readonly string[]): Promise<CommandRun> => wardgate(['holder', step, 'kiosk-10', ...more, '-c', gateway.path('wardgate.yaml'), '--who', 'IT Li']);
  await without('give', '--device', '--to', 'Ward 3', '--cert', await ca.write('kiosk-10.pem', issued.certificate));
  await without('return');
  await without('recover');
  expect((await without('revoke', '--dir', gateway.path('nowhere'))).stderr).toContain('there is no CA in');
  expect((await without('revoke')).stdout).toMatch(/the CA was not told: there is none in \S+\/state\/ca\./);
  expect(ca.office.entry(issued.serial).state).toBe(issued.state);
  expect((await holder('destroy', 'kiosk-10', '--note', 'disk shredded', '--witness', 'Officer Zhao')).stdout).toContain(`in the books of the CA: ${issued.serial}`);
  expect(ca.office.entry(issued.serial)).toMatchObject({ state: 'destroyed', revoked: { reason: 'cessationOfOperation' } });
});

test('what happened is not changed afterwards, and two commands at once take one step', async () => {
  const state = await mkdtemp(join(tmpdir(), 'wardgate-custody-'));
  try {
    const [one, other] = [openCustody(state), openCustody(state)];
    const given = { at: '2026-11-22T12:00:00.000Z', step: 'give', who: 'IT Li', holder: 'Dr Chen' } as const;
    one.record('K', given);
    expect(() => other.record('K', given)).toThrow('it is handed out');
    one.close();
    other.close();
    const database = new DatabaseSync(join(state, 'custody.db'));
    expect(() => database.exec("UPDATE event SET line = '{}'")).toThrow('not changed');
    expect(() => database.exec('DELETE FROM event')).toThrow('not removed');
    database.close();
  } finally {
    rmSync(state, { recursive: true, force: true });
  }
});
