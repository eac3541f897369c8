import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { createProcessMetrics } from '../src/admin/metrics.ts';
import type { AuditRecord } from '../src/audit/record.ts';
import { noteRun, noteWatch } from '../src/backup/runs.ts';
import { watchBackups, type BackupWatch } from '../src/backup-watch.ts';
import { callGateway } from '../src/cli/call.ts';
import { createGateway, type GatewayStatus } from '../src/gateway.ts';
import { SILENT } from '../src/log.ts';
import { wardgate } from './support/command.ts';
import { configuration, gatewayDirectory } from './support/gateway.ts';
import { testPki } from './support/pki.ts';

const DAY = 86_400_000;
const NOON = Date.parse('2026-11-22T12:00:00.000Z');
const made: string[] = [];

afterAll(() => made.forEach((path) => rmSync(path, { recursive: true, force: true })));

/** A watch over a state directory, its clock in the hands of the test. */
function watching(expected: { create?: number; verify?: number }, state = mkdtempSync(join(tmpdir(), 'wardgate-watch-'))): { readonly state: string; readonly told: AuditRecord[]; readonly watch: BackupWatch; at(time: number): Promise<void>; metric(name: string): Promise<unknown> } {
  made.push(state);
  const clock = { now: NOON };
  const told: AuditRecord[] = [];
  const metrics = createProcessMetrics();
  const watch = watchBackups({ state, config: () => ({ expected }), audit: { append: async (record) => void told.push(record) }, raise: () => undefined, metrics, now: () => clock.now, log: SILENT });
  return {
    state, told, watch,
    async at(time) {
      await watch.look();
      clock.now = time;
      await watch.look();
    },
    metric: async (name) => (await metrics.registry.getSingleMetric(name)?.get())?.values.map(({ labels, value }) => [labels.run, value]),
  };
}

describe('backups that are expected', () => {
  test('one that was never made is missed when the time has passed, and not before', async () => {
    const { told, at, watch, metric } = watching({ create: 31 * DAY });
    await at(NOON + 31 * DAY);
    expect(told).toEqual([]);
    await at(NOON + 31 * DAY + 1);
    expect(told).toMatchObject([{ event: 'alarm', result: 'failed', alarm: 'backup_missed', detail: 'create: no backup was made yet, and one was due by 2026-12-23T12:00:00.000Z' }]);
    expect(watch.report()).toEqual([{ run: 'create', due: '2026-12-23T12:00:00.000Z', missed: true }, { run: 'verify', missed: false }]);
    expect(await metric('wardgate_backup_missed')).toEqual([['create', 1], ['verify', 0]]);
    await watch.close();
  });

  test('it is said once a day while it lasts, by whatever process, until one was made', async () => {
    const { told, at, state, watch, metric } = watching({ create: 31 * DAY, verify: 92 * DAY });
    noteRun(state, 'create', { at: new Date(NOON).toISOString(), sha256: 'ab', ms: 1 });
    await at(NOON + 32 * DAY);
    await at(NOON + 32 * DAY + 3_600_000);
    await watch.close();
    expect(told).toHaveLength(1);
    const again = watching({ create: 31 * DAY, verify: 92 * DAY }, state);
    await again.at(NOON + 32 * DAY + 7_200_000);
    expect(again.told).toEqual([]);
    await again.at(NOON + 33 * DAY);
    expect(again.told).toHaveLength(1);
    noteRun(state, 'create', { at: new Date(NOON + 33 * DAY).toISOString(), sha256: 'cd', ms: 1 });
    await again.at(NOON + 34 * DAY);
    expect(again.told).toHaveLength(1);
    expect(again.watch.report()[0]).toMatchObject({ missed: false, last: '2026-12-25T12:00:00.000Z' });
    expect(await again.metric('wardgate_backup_last_success_timestamp_seconds')).toEqual([['create', (NOON + 33 * DAY) / 1_000], ['verify', 0]]);
    expect(await metric('wardgate_backup_missed')).toEqual([['create', 1], ['verify', 0]]);
    await again.watch.close();
  });

  test('a run of a clock that was in the future does not stand for those of today', async () => {
    const { told, at, state, watch } = watching({ create: 31 * DAY });
    await watch.look();
    noteRun(state, 'create', { at: '2036-01-01T00:00:00.000Z', sha256: 'ab', ms: 1 });
    await at(NOON + 40 * DAY);
    expect(told).toHaveLength(1);
    await watch.close();
  });
});

test('a gateway raises the alarm for one that was missed while it was away, and shows it; it is open until somebody acknowledges it', async () => {
  const directory = await gatewayDirectory(await testPki());
  made.push(directory);
  const config = join(directory, 'wardgate.yaml');
  await writeFile(config, configuration(1, { threads: 1, top: 'alarms: {}\nbackup: { expected: { create: 31d, verify: 92d } }' }));
  mkdirSync(join(directory, 'state'), { mode: 0o700 });
  noteWatch(join(directory, 'state'), { since: new Date(Date.now() - 40 * DAY).toISOString(), told: {} });
  const gateway = await createGateway({ config });
  try {
    const alarms = async (): Promise<readonly object[]> => (await callGateway(gateway.adminSocket, 'GET', '/v1/alarms') as { alarms: readonly object[] }).alarms;
    await expect.poll(alarms).toMatchObject([{ rule: 'backup_missed', subject: 'backups', text: 'a backup is overdue', count: 1 }]);
    const { backups } = await callGateway(gateway.adminSocket, 'GET', '/v1/status') as GatewayStatus;
    expect(backups).toMatchObject([{ run: 'create', missed: true }, { run: 'verify', missed: false }]);
    expect((await wardgate(['status', '-c', config])).stdout).toMatch(/backup +last made never, OVERDUE since /);
    // As without a file descriptor: what is noted elsewhere is told all the same.
    mkdirSync(join(directory, 'state/backup/create.json'));
    expect(await callGateway(gateway.adminSocket, 'GET', '/v1/status')).toMatchObject({ pid: process.pid, backups: [], unread: [expect.stringMatching(/^backups: EISDIR/)] });
  } finally {
    await gateway.stop(0);
    await rm(directory, { recursive: true, force: true });
  }
});

describe('the units that ship', () => {
  const units = join(import.meta.dirname, '../deploy/systemd');
  const names = readdirSync(units).filter((name) => /^wardgate-(?:backup|restore-test)\./.test(name));
  const hasSystemd = spawnSync('systemd-analyze', ['--version']).error === undefined;
  if (!hasSystemd) console.log('skipped: part of backup-watch.test.ts needs systemd-analyze (systemd)');

  test('name options that the commands have', async () => {
    for (const name of names.filter((one) => one.endsWith('.service'))) {
      const [, command = ''] = /^ExecStart=\/usr\/local\/bin\/wardgate (.+)$/m.exec(readFileSync(join(units, name), 'utf8')) ?? [];
      const [family = '', verb = ''] = command.split(' ');
      const { stdout } = await wardgate([family, verb, '--help']);
      expect([...command.matchAll(/ (--[a-z-]+)/g)].map(([, option]) => option).filter((option) => option === undefined || !stdout.includes(option)), name).toEqual([]);
    }
  });

  test.skipIf(!hasSystemd)('are units that systemd takes, once a month and once a quarter', () => {
    const copy = mkdtempSync(join(tmpdir(), 'wardgate-units-'));
    made.push(copy);
    cpSync(units, copy, { recursive: true });
    // It looks for the program.
    for (const name of names) writeFileSync(join(copy, name), readFileSync(join(copy, name), 'utf8').replaceAll('/usr/local/bin/wardgate', '/bin/true'));
    // It looks at other units of the machine as well, which are not ours.
    const complaints = (): readonly string[] => spawnSync('systemd-analyze', ['verify', ...names.map((name) => join(copy, name))], { encoding: 'utf8' }).stderr.split('\n').filter((line) => line.includes('wardgate'));
    expect(complaints()).toEqual([]);
    const next = (timer: string): readonly string[] => {
      const [, calendar = ''] = /^OnCalendar=(.+)$/m.exec(readFileSync(join(units, timer), 'utf8')) ?? [];
      const text = execFileSync('systemd-analyze', ['calendar', calendar, '--base-time=2026-11-22', '--iterations=3'], { encoding: 'utf8', env: { ...process.env, TZ: 'UTC', LC_ALL: 'C' } });
      return [...text.matchAll(/(?:Next elapse|Iter\. #\d|Iteration #\d): \w+ (\d{4}-\d\d)-\d\d/g)].map(([, month = '']) => month);
    };
    expect(next('wardgate-backup.timer')).toEqual(['2026-12', '2027-01', '2027-02']);
    expect(next('wardgate-restore-test.timer')).toEqual(['2027-01', '2027-04', '2027-07']);
    writeFileSync(join(copy, 'wardgate-backup.timer'), readFileSync(join(copy, 'wardgate-backup.timer'), 'utf8').replace('OnCalendar=', 'OnCalender='));
    expect(complaints()).not.toEqual([]);
  });
});
