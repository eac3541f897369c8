import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat, writeFile, chmod } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { runCommandLine } from '../src/cli/command-line.ts';
import { status as tellStatus } from '../src/cli/status.ts';
import { followed } from '../src/cli/followed.ts';
import { showWaiting } from '../src/cli/waiting.ts';
import type { Evidence } from '../src/audit/evidence.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { cleanEnvironment, MAIN, wardgate, wardgateProcess, wardgateRun, type RunningCommand } from './support/command.ts';
import { ask, configuration, gatewayDirectory, readRecords } from './support/gateway.ts';
import { issueCertificate, testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let directory: string;
let config: string;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  directory = await gatewayDirectory(pki);
  config = `${directory}/wardgate.yaml`;
  await writeFile(config, configuration(backend.port));
});

afterAll(async () => {
  await backend.close();
  await rm(directory, { recursive: true, force: true });
});

const file = (name: string): string => `${directory}/${name}`;

describe('wardgate run', () => {
  let running: RunningCommand;

  beforeAll(async () => {
    running = await wardgateRun(config);
  });

  afterAll(async () => {
    if (running.child.exitCode === null) await running.stop();
  });

  it('prints its pid before the listening lines', () => {
    expect(running.stdout()).toMatch(/^pid \d+\nlistening clinical 127\.0\.0\.1:\d+\n$/);
  });

  it('keeps its state to itself', async () => {
    expect((await stat(file('state'))).mode & 0o777).toBe(0o700);
    expect((await stat(file('state/admin.sock'))).mode & 0o777).toBe(0o600);
  });

  it('serves, and tells its status', async () => {
    expect((await ask(pki, running.port, '/records', { client: pki.doctor })).status).toBe(200);
    const status = await wardgateProcess(['status', '-c', config, '--json']);
    expect(status.code).toBe(0);
    expect(JSON.parse(status.stdout)).toMatchObject({ pid: running.pid, threads: 2, listeners: [{ name: 'clinical', port: running.port }] });
    let text = '';
    await tellStatus({ config }, (part) => {
      text += part;
    });
    // The CRL of this CA has one.
    expect(text).toMatch(/CN=Hospital Issuing CA,O=Hospital: 1 entry, next update/);
    expect(text).not.toMatch(/\b1 entries/);
  });

  it('revokes by certificate, by serial and issuer in either order, by fingerprint; and reinstates', async () => {
    const ways = [
      ['--cert', file('doctor.pem')],
      ['--serial', pki.doctor.serialHex, '--issuer', 'CN=Hospital Issuing CA,O=Hospital'],
      ['--serial', pki.doctor.serialHex.toUpperCase(), '--issuer', 'O=Hospital, CN=Hospital Issuing CA'],
      ['--fingerprint', pki.doctor.sha256.toUpperCase().replace(/..(?=.)/g, '$&:')],
    ];
    for (const way of ways) {
      const revoked = await wardgate(['revoke', '-c', config, ...way, '--reason', 'laptop stolen', '--who', 'duty officer']);
      expect(revoked).toMatchObject({ code: 0 });
      expect(revoked.stdout).toContain('on the running gateway');
      expect((await ask(pki, running.port, '/records', { client: pki.doctor })).json()).toMatchObject({ code: 'certificate_rejected' });
      expect(await wardgate(['reinstate', '-c', config, ...way])).toMatchObject({ code: 0 });
      expect((await ask(pki, running.port, '/records', { client: pki.doctor })).status).toBe(200);
    }
    expect(await wardgate(['reinstate', '-c', config, '--cert', file('doctor.pem')])).toMatchObject({ code: 1 });
    const records = await readRecords(file('state/audit'));
    expect(records.find((record) => record['event'] === 'revocation')).toMatchObject({ who: 'duty officer', reason: 'revoked_denylist' });
  });

  it('keeps the old configuration when the new one is wrong, by SIGHUP and by command', async () => {
    const good = await readFile(config, 'utf8');
    for (const [name, broken] of [
      ['garbage', '\u0000\u0001'], ['an empty file', ''], ['a missing CA', good.replace('trust: [root.pem]', 'trust: [gone.pem]')],
      ['a key that does not match', good.replace('key: server-ec.key', 'key: doctor.key')],
    ] as const) {
      await writeFile(config, broken);
      const reload = await wardgate(['reload', '-c', config]);
      expect(reload.code, name).toBe(1);
      process.kill(running.pid, 'SIGHUP');
      expect((await ask(pki, running.port, '/records', { client: pki.doctor })).status).toBe(200);
      await writeFile(config, good);
    }
    expect(await wardgate(['reload', '-c', config])).toMatchObject({ code: 0, stdout: 'reloaded\n' });
    expect((await ask(pki, running.port, '/records', { client: pki.doctor })).status).toBe(200);
  });

  it('refuses a second gateway on the same state', async () => {
    const second = await wardgateProcess(['run', '-c', config]);
    expect(second.code).toBe(1);
    expect(second.stderr).toContain('another gateway is running');
    expect((await ask(pki, running.port, '/records', { client: pki.doctor })).status).toBe(200);
  });

  it('opens no inspector on SIGUSR1 (TRAPS 22)', async () => {
    process.kill(running.pid, 'SIGUSR1');
    await expect(new Promise((done, failed) => {
      const socket = connect(9229, '127.0.0.1', () => done('open'));
      socket.on('error', failed);
    })).rejects.toThrow('ECONNREFUSED');
    expect((await ask(pki, running.port, '/records', { client: pki.doctor })).status).toBe(200);
  });

  it('ends as at SIGTERM when the launcher of an older Node, which stays as its parent, is killed', async () => {
    await running.stop();
    const launcher = spawn(process.execPath, ['--import', 'data:text/javascript,process.execve=undefined', MAIN, 'run', '-c', config], { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
    const ended = Promise.all([once(launcher, 'close'), text(launcher.stderr)]);
    const [, pid] = /^pid (\d+)$/m.exec(await new Promise<string>((done) => {
      let told = '';
      launcher.stdout.on('data', (chunk: Buffer) => (told += chunk.toString()).includes('listening ') && done(told));
    })) as unknown as [string, string];
    expect(Number(pid)).not.toBe(launcher.pid);
    launcher.kill('SIGKILL');
    // Both hold the streams until they end.
    expect((await ended)[1]).toContain('draining');
    await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
    expect(existsSync(file('state/admin.sock'))).toBe(false);
    running = await wardgateRun(config);
  });

  it('drains on SIGTERM, exits 0 and removes its socket', async () => {
    expect(await running.stop()).toBe(0);
    expect(existsSync(file('state/admin.sock'))).toBe(false);
    const status = await wardgate(['status', '-c', config]);
    expect(status).toMatchObject({ code: 1 });
    expect(status.stderr).toContain('no gateway is running');
  });

  it('finds a revocation that was made while it was down', async () => {
    const revoked = await wardgate(['revoke', '-c', config, '--cert', file('patient.pem'), '--reason', 'phone lost']);
    expect(revoked.stdout).toContain('not running');
    const again = await wardgateRun(config);
    expect((await ask(pki, again.port, '/echo/x', { client: pki.patient })).json()).toMatchObject({ code: 'certificate_rejected' });
    await wardgate(['reinstate', '-c', config, '--cert', file('patient.pem')]);
    expect(await again.stop()).toBe(0);
  });
});

describe('the environment', () => {
  it('cannot switch verification off, log keys, or load code (TRAPS 22)', async () => {
    const stranger = await startBackend(pki, undefined, await issueCertificate(pki.root, { subject: [['CN', 'records.internal']], san: { dns: 'records.internal' }, eku: ['serverAuth'] }));
    await writeFile(file('env.yaml'), configuration(stranger.port).replace('threads: 2', 'threads: 1\nstate: ./state-env'));
    await writeFile(file('evil.mjs'), `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(file('evil.out'))}, String(process.argv.includes('--disable-sigusr1')));`);
    const running = await wardgateRun(file('env.yaml'), {
      NODE_TLS_REJECT_UNAUTHORIZED: '0', SSLKEYLOGFILE: file('keys.log'), NODE_OPTIONS: `--tls-keylog=${file('node-keys.log')}`, FORCE_FETCH_PATH: 'true',
      NODE_EXTRA_CA_CERTS: file('root.pem'), HTTPS_PROXY: 'http://127.0.0.1:9',
    });
    const reply = await ask(pki, running.port, '/records', { client: pki.doctor });
    expect(reply.status).toBe(502);
    await running.stop();
    await stranger.close();
    for (const log of ['keys.log', 'node-keys.log']) expect(existsSync(file(log)) ? await readFile(file(log), 'utf8') : '').toBe('');
    expect(running.stderr()).toContain('ignoring from the environment');
  });
});

describe('wardgate check', () => {
  it('names each of five mistakes with its line, and exits 1', async () => {
    await writeFile(file('five.yaml'), configuration(backend.port)
      .replace('mode: optional', 'mode: sometimes')
      .replace('methods: [GET]', 'methods: [GET], hots: x')
      .replace('upstream: records, phi: true', 'upstream: ehr, phi: true')
      .replace('threads: 2', 'threads: none')
      .replace(`https://127.0.0.1:${backend.port}`, 'http://127.0.0.1:1'));
    const run = await wardgateProcess(['check', '-c', file('five.yaml')]);
    expect(run.code).toBe(1);
    const lines = run.stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(5);
    for (const line of lines) expect(line).toMatch(/five\.yaml:\d+:\d+: \S+: ./);
  });

  it('says that a good configuration is good', async () => {
    const run = await wardgate(['check', '-c', config]);
    expect(run).toMatchObject({ code: 0 });
    expect(run.stdout).toContain('configuration is good');
  });

  it('refuses a key that others can read', async () => {
    await chmod(file('server-ec.key'), 0o644);
    const run = await wardgate(['check', '-c', config]);
    expect(run.code).toBe(1);
    expect(run.stdout).toContain('server-ec.key');
    await chmod(file('server-ec.key'), 0o600);
  });
});

describe('wardgate explain', () => {
  it('permits a doctor and shows the rules that did', async () => {
    const run = await wardgate(['explain', '-c', config, '--cert', file('doctor.pem'), '--request', 'GET https://localhost/records']);
    expect(run).toMatchObject({ code: 0 });
    expect(run.stdout).toMatch(/crl {9} good/);
    expect(run.stdout).toMatch(/permitted\n$/);
  });

  it.each([
    ['revoked', 'GET https://localhost/records', 'revoked_crl'],
    ['patient', 'GET https://localhost/records', 'role_denied'],
    ['unmapped', 'GET https://localhost/public/x', 'no_role'],
    ['doctor', 'GET https://localhost/nowhere', 'not_found'],
    ['doctor', 'GET https://localhost/any/../records', 'bad_request'],
    ['doctor', 'HOFFMANN https://localhost/records', 'bad_request'],
    ['doctor', 'CONNECT https://localhost/records', 'bad_request'],
    ['backend', 'GET https://localhost/records', 'untrusted_issuer'],
  ])('denies %s on %s with exit 3 and %s', async (who, request, reason) => {
    const run = await wardgate(['explain', '-c', config, '--json', '--cert', file(`${who}.pem`), '--request', request]);
    expect(run.code).toBe(3);
    expect(JSON.parse(run.stdout)).toMatchObject({ result: 'denied', reason });
  });

  it.each([
    ['GET https://localhost/public/x', 0, { result: 'permitted' }],
    ['GET https://localhost/records', 3, { result: 'denied', reason: 'no_certificate' }],
  ])('says what somebody without a certificate gets on %s', async (request, code, expected) => {
    const run = await wardgate(['explain', '-c', config, '--json', '--request', request]);
    expect([run.code, JSON.parse(run.stdout)]).toMatchObject([code, expected]);
    expect(run.stdout).toContain('the client shows no certificate');
  });
});

describe('wrong usage', () => {
  it.each([[['frobnicate']], [['revoke', '--cert', 'x']], [['explain']], [['run', '--frob']], [['revoke', '--reason', 'x']], [['revoke', '--serial', 'zz', '--reason', 'x']]])('%j exits 2', async (args) => {
    expect((await wardgate(args)).code).toBe(2);
  });

  it('and a denial are the exit status of the process, too', async () => {
    expect((await wardgateProcess(['frobnicate'])).code).toBe(2);
    expect((await wardgateProcess(['explain', '-c', config, '--cert', file('patient.pem'), '--request', 'GET https://localhost/records'])).code).toBe(3);
  });

  it('of a file that is not there exits 1 and names it', async () => {
    const run = await wardgateProcess(['run', '-c', file('gone.yaml')]);
    expect(run.code).toBe(1);
    expect(run.stderr).toContain('gone.yaml');
  });
});

describe('what is printed', () => {
  it('to somebody who has gone (`| head`) is no fault', async () => {
    const runs = [['check'], ['audit', 'export']].map(async (args) => {
      const child = spawn(process.execPath, [MAIN, ...args, '-c', config], { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.destroy();
      const [[code], stderr] = await Promise.all([once(child, 'close'), text(child.stderr)]);
      return [code, stderr];
    });
    expect(await Promise.all(runs)).toEqual([[0, ''], [0, '']]);
  });

  it('of variables that are ignored is told to people, and to nobody who reads JSON', async () => {
    const [plain, json] = await Promise.all([['check'], ['check', '--json']].map((args) => wardgateProcess([...args, '-c', config], { SSL_CERT_FILE: '/nowhere' })));
    expect(plain?.stderr).toBe('wardgate: ignoring from the environment: SSL_CERT_FILE\n');
    expect(json).toMatchObject({ code: 0, stderr: '' });
  });
});

describe('a command that takes long', () => {
  const shown: string[] = [];
  const terminal = (isTTY: boolean): Parameters<typeof showWaiting>[0] => ({ isTTY, write: (text) => shown.push(text) });

  beforeEach(() => {
    shown.length = 0;
    vi.useFakeTimers();
  });

  afterEach(() => void vi.useRealTimers());

  it('shows on a terminal that it is at work, in a line that is blank again when it says something', () => {
    const end = showWaiting(terminal(true), () => false);
    vi.advanceTimersByTime(1_999);
    expect(shown).toEqual([]);
    vi.advanceTimersByTime(1_001);
    expect(shown).toEqual(['… 2 s\r', '… 3 s\r']);
    end();
    vi.advanceTimersByTime(5_000);
    expect(shown.slice(2)).toEqual([expect.stringMatching(/^ +\r$/)]);
  });

  it('tells how many segments it has read of those there are', () => {
    const slow = { segments: ['a', 'b', 'c'], read: () => void vi.advanceTimersByTime(1_500) } as unknown as Evidence;
    const evidence = followed(slow, (text) => shown.push(text));
    for (const segment of evidence.segments) evidence.read(segment, () => undefined);
    expect(shown).toEqual(['2 of 3 segments read']);
  });

  it('shows nothing where there is no terminal, and while it asks for something', () => {
    showWaiting(terminal(false), () => false);
    showWaiting(terminal(true), () => true);
    vi.advanceTimersByTime(5_000);
    expect(shown).toEqual([]);
  });
});

describe('help', () => {
  /** In this process: there are two dozen commands, and a process takes a second. */
  async function help(path: readonly string[]): Promise<string> {
    let text = '';
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    try {
      await runCommandLine([...path, '--help'], { env: {}, exit: () => { throw new Error('exit'); } });
    } finally {
      write.mockRestore();
    }
    return text;
  }

  async function commands(path: readonly string[]): Promise<readonly (readonly string[])[]> {
    const listed = (await help(path)).split('\nCommands:\n')[1]?.split('\n\n')[0] ?? '';
    const found: (readonly string[])[] = [];
    for (const [, name = ''] of listed.matchAll(/^ {2}(\w[\w-]*)/gm)) {
      if (name !== 'help') found.push([...path, name], ...await commands([...path, name]));
    }
    return found;
  }

  it('of every command has an example', async () => {
    const all = await commands([]);
    expect(await help([])).toMatch(/^Examples:\n {2}wardgate/m);
    expect(all).toContainEqual(['break-glass', 'review']);
    const without: string[] = [];
    for (const path of all) {
      if (!new RegExp(`^Examples?:\\n {2}wardgate ${path.join(' ')}`, 'm').test(await help(path))) without.push(path.join(' '));
    }
    expect(without).toEqual([]);
  });

  it('says which options a command cannot do without', async () => {
    const text = (await help(['ca', 'request'])).replace(/\s+/g, ' ');
    expect(text).toContain('what for (required)');
    expect(text).toContain('where it lists any (default: "unspecified")');
  });

  it('of a configuration names the variable that stands for it', async () => {
    expect((await help(['check'])).replace(/\s+/g, ' ')).toContain('$WARDGATE_CONFIG');
  });

  it('is named by the message about a wrong use', async () => {
    expect((await wardgate(['break-glass', 'review', 'x'])).stderr).toContain('(wardgate break-glass review --help has an example)');
  });
});

describe('what is said of an option', () => {
  it.each([
    ['a file that is not there', ['revoke', '--cert', '/nowhere/doctor.pem', '--reason', 'x'], 1, '/nowhere/doctor.pem: no such file'],
    ['a name that is none', ['revoke', '--serial', '0a', '--issuer', 'Hospital', '--reason', 'x'], 1, `--issuer: "Hospital" is not a name; expected one such as 'CN=Hospital CA,O=Hospital'`],
    ['an address that is none', ['explain', '--cert', 'doctor.pem', '--address', '10.0.0.300'], 2, '--address: "10.0.0.300" is not an address; expected one such as 10.1.4.9 or 2001:db8::1'],
    ['a request that is none', ['explain', '--request', 'GET /records'], 2, `--request: "GET /records" is not a request; expected 'GET https://host/path'`],
    ['a listener that is none', ['explain', '--cert', 'doctor.pem', '--listener', 'nope'], 2, '--listener: no TLS listener named "nope"; known: clinical'],
    ['a sender where there are none', ['explain', '--cert', 'doctor.pem', '--sender', 'A|B'], 2, '--sender: the listener clinical lists no senders'],
    ['nothing', ['explain'], 2, 'nothing to explain; expected --cert, --request or both'],
  ] as const)('%s', async (_name, [command, ...args], code, message) => {
    const { code: ended, stderr } = await wardgate([command, '-c', config, ...args]);
    expect([ended, stderr]).toEqual([code, `wardgate: ${message}\n`]);
  });
});
