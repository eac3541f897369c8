import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tryLines } from '../src/demo/try-lines.ts';
import { findPrograms } from './support/databases.ts';

const run = promisify(execFile);
const project = join(import.meta.dirname, '..');
const missing = findPrograms('curl', 'sh') === undefined;
if (missing) console.log('skipped: the demo\'s printed commands need curl');

interface Printed {
  readonly does: string;
  readonly expect: string;
  readonly command: string;
}

interface Demo {
  readonly child: ChildProcess;
  readonly text: string;
  readonly lines: readonly Printed[];
  /** Folder of the configuration and the state. */
  readonly folder: string;
  /** ms from the start of the process to the last line */
  readonly took: number;
}

/** Runs `wardgate demo` as a user does, up to its last line. */
async function startDemo(): Promise<Demo> {
  const started = performance.now();
  const child = spawn(process.execPath, [join(project, 'src', 'main.ts'), 'demo'], { cwd: project, stdio: ['ignore', 'pipe', 'pipe'] });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let text = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (text.includes('Ctrl-C')) resolve();
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  child.once('exit', (code) => reject(new Error(`the demo ended with ${code}: ${text}${errors}`)));
  await promise;
  const lines = [...text.matchAll(/^# (.*): (\d{3})\n(curl .*)$/gm)].map(([, does = '', status = '', command = '']) => ({ does, expect: status, command }));
  return { child, text, lines, folder: dirname(/configuration\s+(\S+)/.exec(text)?.[1] ?? ''), took: performance.now() - started };
}

async function shell(command: string): Promise<{ readonly status: string; readonly body: string }> {
  const { stdout } = await run('sh', ['-c', command], { cwd: project });
  const lines = stdout.trimEnd().split('\n');
  return { status: lines.at(-1) ?? '', body: lines.slice(0, -1).join('\n') };
}

describe.skipIf(missing)('wardgate demo', () => {
  let demo: Demo;

  beforeAll(async () => {
    demo = await startDemo();
  }, 60_000);

  afterAll(async () => {
    if (demo === undefined || demo.child.exitCode !== null || demo.child.signalCode !== null) return;
    const ended = once(demo.child, 'exit');
    demo.child.kill('SIGKILL');
    await ended;
  });

  test('prints what to try within a minute', () => {
    expect(demo.took).toBeLessThan(60_000);
    expect(demo.lines.map(({ expect: status }) => status)).toEqual(['200', '201', '201', '201', '200', '403', '403', '401', '403']);
    expect(demo.lines.map(({ command }) => command).join('\n')).toContain(' certs/demo/doctor.pem ');
  });

  // By index, since the lines exist only once the demo runs.
  test.each(tryLines('certs/demo', 0).map(({ does, expect: status }, index) => [does, status, index] as const))('%s: %i, as printed', async (does, status, index) => {
    const line = demo.lines[index];
    expect(line?.does).toBe(does);
    expect((await shell(line?.command ?? 'false')).status).toBe(String(status));
  });

  test('the doctor reads what patient and kiosk have uploaded, each record with its patient', async () => {
    const command = (does: string) => demo.lines.find((line) => line.does.includes(does))?.command ?? 'false';
    await shell(command('a patient uploads'));
    await shell(command('a kiosk uploads'));
    const { records } = JSON.parse((await shell(command('a doctor reads'))).body) as { records: Record<string, unknown>[] };
    expect(records).toHaveLength(5);
    expect(records[0]).toMatchObject({ patient: '1002', systolic: 138, diastolic: 88 });
    expect(records[1]).toMatchObject({ patient: '1001', systolic: 124, diastolic: 81, pulse: 68, source: 'urn:patient:1001' });
    expect(records.every(({ patient }) => typeof patient === 'string' && patient !== '')).toBe(true);
  });

  test('shows the console to the operator, and to nobody else', async () => {
    const address = /console\s+(https:\S+)/.exec(demo.text)?.[1] ?? '';
    const as = (client: string, path: string) => shell(`curl -sS -w '\\n%{http_code}\\n' --cacert certs/demo/root.pem --cert certs/demo/${client}.pem --key certs/demo/${client}.key ${address}${path}`);
    expect(await as('operator', '')).toMatchObject({ status: '200', body: expect.stringContaining('<title>Wardgate</title>') });
    expect(JSON.parse((await as('operator', 'v1/overview')).body)).toMatchObject({ caller: { who: 'Lin Hua', role: 'operator' }, problems: [] });
    expect((await as('doctor', '')).status).toBe('403');
  });

  test('tells a refused client no more than a code and the request id, and keeps the reason in the audit', async () => {
    for (const [does, code, reason] of [['revoked', 'certificate_rejected', 'revoked_crl'], ['without a certificate', 'certificate_required', 'no_certificate'], ['a patient may not', 'role_denied', 'role_denied'], ['has no role', 'role_denied', 'no_role']] as const) {
      const { body } = await shell(demo.lines.find((line) => line.does.includes(does))?.command ?? 'false');
      const problem = JSON.parse(body) as Record<string, unknown>;
      expect(problem['code']).toBe(code);
      expect(body).not.toMatch(/crl|ocsp/i);
      expect(auditOf(demo.folder, String(problem['request_id']))).toMatchObject({ reason });
    }
  });

  test('ends on SIGINT and leaves nothing but the certificates', async () => {
    const ended = once(demo.child, 'exit');
    demo.child.kill('SIGINT');
    const [code] = (await ended) as [number | null];
    expect(code).toBe(0);
    expect(existsSync(demo.folder)).toBe(false);
    expect(existsSync(join(project, 'certs', 'demo', 'doctor.pem'))).toBe(true);
    for (const [, port = ''] of demo.text.matchAll(/(?:localhost|127\.0\.0\.1):(\d+)/g)) await expect(reach(Number(port))).rejects.toThrow('ECONNREFUSED');
  });
});

function auditOf(folder: string, requestId: string): Record<string, unknown> | undefined {
  const directory = join(folder, 'state', 'audit');
  const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const lines = files.flatMap((entry) => readFileSync(join(entry.parentPath, entry.name), 'utf8').split('\n'));
  const line = lines.find((text) => text.includes(requestId));
  return line === undefined ? undefined : JSON.parse(line) as Record<string, unknown>;
}

async function reach(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
}
