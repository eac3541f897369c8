import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { upgradeUnderLoad } from '../bench/upgrade-under-load.ts';
import { callGateway } from '../src/cli/call.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate, wardgateProcess, wardgateRun, type RunningCommand } from './support/command.ts';
import { ask, configuration, gatewayDirectory, listener } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { freePort } from './support/programs.ts';

it('a release that takes over fails no request: kept-alive, on new connections, and under way while it does', async () => {
  const { loads, pids } = await upgradeUnderLoad({ upgrades: 1, each: 2 });
  expect(new Set(pids).size).toBe(2);
  expect(loads.map(({ client, failures }) => ({ client, failures }))).toEqual(['kept-alive', 'new connections', 'slow answers'].map((client) => ({ client, failures: [] })));
  expect(loads.every(({ requests }) => requests > 2)).toBe(true);
});

/** As proc(5) has it; undefined when it is gone. Nobody may be there to take the exit code of a process whose parent ended before it. */
function stateOf(pid: number): string | undefined {
  try {
    const [, state] = /\) (\w) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return state === 'Z' ? undefined : state;
  } catch {
    return undefined;
  }
}

describe('a gateway that another release takes over', () => {
  let pki: TestPki;
  let backend: Backend;
  let directory: string;
  let config: string;
  let yaml: string;
  let running: RunningCommand;
  let pid: number;

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki);
    directory = await gatewayDirectory(pki);
    config = join(directory, 'wardgate.yaml');
    yaml = configuration(backend.port, { threads: 1, listeners: `${listener('clinical')}\n  - { name: plain, address: "127.0.0.1:${await freePort()}", protocol: redirect, redirect_port: 443 }` });
    await writeFile(config, yaml);
    running = await wardgateRun(config);
    pid = running.pid;
  });

  afterAll(async () => {
    await backend.close();
    await rm(directory, { recursive: true, force: true });
  });

  const statusOf = async (client: TestPki['doctor']): Promise<number> => (await ask(pki, running.port, '/echo/x', { client })).status;
  const program = async (name: string, text: string): Promise<{ node: string; args: readonly string[] }> => {
    await writeFile(join(directory, name), text);
    return { node: process.execPath, args: [join(directory, name)] };
  };
  const upgradeTo = (release: { node: string; args: readonly string[] }): Promise<unknown> => callGateway(join(directory, 'state/admin.sock'), 'POST', '/v1/upgrade', { ...release, grace: 1_000, who: 'test', reason: 'test' });

  it('says what would be done, that it ends a drain too, and does nothing of it, in a dry run', async () => {
    await wardgate(['drain', '-c', config, '--listener', 'plain', '--reason', 'moving', '--who', 'Li']);
    const { code, stdout } = await wardgateProcess(['upgrade', '-c', config, '--dry-run', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ replaces: pid, undrained: [{ listener: 'plain', who: 'Li' }] });
    expect((await wardgate(['upgrade', '-c', config, '--dry-run'])).stdout).toMatch(/listener plain, drained since \S+ by Li, would take new connections again/);
    expect((await wardgate(['drain', '-c', config, '--undo', '--reason', 'done'])).code).toBe(0);
    expect(running.child.exitCode).toBeNull();
  });

  it('serves on when the other one ends before it has read its configuration', async () => {
    await expect(upgradeTo(await program('broken.mjs', 'process.exit(7);'))).rejects.toThrow('this one serves on: it ended with 7');
    expect(await statusOf(pki.doctor)).toBe(200);
  });

  const startsAgain = async (starts: number): Promise<void> => {
    // Where any port would do it is another one.
    await expect.poll(() => running.stdout().split('listening clinical').length).toBe(starts + 1);
    running = { ...running, port: Number([...running.stdout().matchAll(/^listening clinical \S+:(\d+)$/gm)].at(-1)?.[1]) };
    expect(await statusOf(pki.doctor)).toBe(200);
  };

  it('starts again when the other one ends after it was to take over', async () => {
    await upgradeTo(await program('faint.mjs', "process.send('ready'); setTimeout(() => process.exit(1), 300);"));
    await startsAgain(2);
    expect(running.stderr()).toContain('it ended with 1; its log says why","msg":"the other release does not serve; this one starts again');
  });

  it('starts again in seconds when the other one hangs after it has taken the state, which is killed first', async () => {
    const { pid: other } = await upgradeTo(await program('hung.mjs', `
      import { predecessor } from '${import.meta.dirname}/../src/cli/successor.ts';
      import { lockStateWhenFree } from '${import.meta.dirname}/../src/store/state-lock.ts';
      predecessor(process.env).ready();
      await lockStateWhenFree('${directory}/state', 20_000);
      process.kill(process.pid, 'SIGSTOP');
      setInterval(() => undefined, 1_000);`)) as { readonly pid: number };
    await expect.poll(() => stateOf(other)).toBe('T');
    await startsAgain(3);
    expect(stateOf(other)).toBeUndefined();
    expect(running.stderr()).toContain('it gave no sign of life for 5000 ms');
  });

  it('leaves to it what was revoked, an address that is written otherwise, and records that hang together, whoever reloads meanwhile', async () => {
    expect((await wardgate(['revoke', '-c', config, '--cert', join(directory, 'patient.pem'), '--reason', 'phone lost'])).code).toBe(0);
    const ended = once(running.child, 'exit');
    await writeFile(config, yaml.replace(/127\.0\.0\.1(:\d+", protocol: redirect)/, '0.0.0.0$1'));
    // It would take the new address for itself, and neither of the two could serve.
    running.child.stderr?.on('data', (log: Buffer) => void (log.includes('another release takes over') && running.child.kill('SIGHUP')));
    const { code, stdout, stderr } = await wardgateProcess(['upgrade', '-c', config, '--json', '--reason', 'security fix']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    pid = (JSON.parse(stdout) as { readonly pid: number }).pid;
    expect(await ended).toEqual([0, null]);
    expect(await Promise.all([statusOf(pki.doctor), statusOf(pki.patient)])).toEqual([200, 403]);
    expect(await wardgate(['audit', 'verify', join(directory, 'state/audit')])).toMatchObject({ code: 0 });
    expect((await wardgate(['audit', 'export', '-c', config])).stdout).toMatch(/POST \/v1\/upgrade \([^)]*main\.ts run -c [^)]*\): security fix/);
  });

  it('ends with what was to take over from it when it is told to end meanwhile', async () => {
    const { pid: other } = await upgradeTo(await program('idle.mjs', "process.send('ready'); setInterval(() => undefined, 1000);")) as { readonly pid: number };
    process.kill(pid, 'SIGTERM');
    await vi.waitFor(async () => expect((await wardgate(['status', '-c', config])).code).toBe(1), { timeout: 20_000 });
    for (const one of [pid, other]) await expect.poll(() => stateOf(one)).toBeUndefined();
  });
});
