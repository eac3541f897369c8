import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate, wardgateRun, type RunningCommand } from './support/command.ts';
import { ask, configuration, exchange, gatewayDirectory, openTls, readRecords } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { freePort, untilListening } from './support/programs.ts';
import { redisInstalled, startRedis, type RedisServer } from './support/redis.ts';

const haproxyInstalled = spawnSync('haproxy', ['-v']).error === undefined;
if (!haproxyInstalled || !redisInstalled) console.log('skipped: balanced-gateways.test.ts needs haproxy and redis-server');
const nginxInstalled = spawnSync('sh', ['-c', 'nginx -v && test -e /usr/share/nginx/modules/ngx_stream_module.so']).status === 0;
if (!nginxInstalled) console.log('skipped: parts of balanced-gateways.test.ts need nginx with its stream module');

interface Node {
  readonly directory: string;
  readonly metrics: number;
  readonly running: RunningCommand;
}

describe.skipIf(!haproxyInstalled || !redisInstalled)('two gateways behind HAProxy and nginx as L4, with a store in common', () => {
  let pki: TestPki;
  let backend: Backend;
  let redis: RedisServer;
  let nodes: readonly [Node, Node];
  let haproxy: ChildProcess;
  let front: number;
  let nginx: ChildProcess | undefined;
  let nginxPort: number;
  /** Connections through nginx that stay open: two for each gateway, at least. */
  let open: readonly TLSSocket[] = [];

  beforeAll(async () => {
    pki = await testPki();
    backend = await startBackend(pki);
    redis = await startRedis();
    nodes = await Promise.all([startNode(), startNode()]);
    front = await freePort();
    haproxy = spawn('haproxy', ['-db', '-f', await balancer()], { stdio: 'ignore' });
    haproxy.on('error', () => undefined);
    await untilListening(front, haproxy);
    if (!nginxInstalled) return;
    nginxPort = await freePort();
    nginx = spawn('nginx', ['-e', join(nodes[0].directory, 'nginx.log'), '-c', await streams(), '-p', '/usr/share/nginx/'], { stdio: 'ignore' });
    nginx.on('error', () => undefined);
    await untilListening(nginxPort, nginx);
  });

  afterAll(async () => {
    haproxy.kill('SIGKILL');
    for (const socket of open) socket.destroy();
    nginx?.kill('SIGTERM');
    if (nginx?.exitCode === null) await once(nginx, 'exit');
    for (const { running, directory } of nodes) {
      running.child.kill('SIGKILL');
      await rm(directory, { recursive: true, force: true });
    }
    await redis.kill();
    await backend.close();
  });

  async function startNode(): Promise<Node> {
    const directory = await gatewayDirectory(pki);
    const metrics = await freePort();
    const config = join(directory, 'wardgate.yaml');
    await writeFile(config, configuration(backend.port, {
      threads: 1, listenerExtra: '    proxy_protocol: { from: [127.0.0.0/8] }',
      top: `store: { redis: "redis://127.0.0.1:${redis.port}" }\nmetrics: { address: "127.0.0.1:${metrics}" }`,
    }));
    return { directory, metrics, running: await wardgateRun(config) };
  }

  /** The example that ships, with the addresses of this machine in place of its own. */
  async function balancer(): Promise<string> {
    const file = join(nodes[0].directory, 'haproxy.cfg');
    const example = readFileSync(join(import.meta.dirname, '../deploy/examples/haproxy-l4.cfg'), 'utf8');
    const text = nodes.reduce((config, { running, metrics }, index) => config.replace(`10.1.0.1${index + 1}:8443`, `127.0.0.1:${running.port} port ${metrics}`), example)
      .replace('10.1.0.10:443', `127.0.0.1:${front}`);
    expect(text).not.toMatch(/^[^#]*10\.1\.0\./m);
    await writeFile(file, text);
    return file;
  }

  /** The same of the example for nginx. */
  async function streams(): Promise<string> {
    const file = join(nodes[0].directory, 'nginx.conf');
    const example = readFileSync(join(import.meta.dirname, '../deploy/examples/nginx-l4.conf'), 'utf8');
    const text = nodes.reduce((config, { running }, index) => config.replace(`10.1.0.1${index + 1}:8443`, `127.0.0.1:${running.port}`), example).replace('10.1.0.10:443', `127.0.0.1:${nginxPort}`);
    expect(text).not.toMatch(/^[^#]*10\.1\.0\./m);
    await writeFile(file, `daemon off;\npid ${join(nodes[0].directory, 'nginx.pid')};\nerror_log ${join(nodes[0].directory, 'nginx.log')};\n${text}`);
    return file;
  }

  const get = (socket: TLSSocket, path: string): Promise<string> => exchange(socket, `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`, (text) => text.endsWith('hello'));
  const recordsOf = async (path: string): Promise<readonly (readonly Record<string, unknown>[])[]> =>
    Promise.all(nodes.map(async ({ directory }) => (await readRecords(join(directory, 'state/audit'))).filter((record) => record['path'] === path)));

  /** Through the balancer, on a connection of its own; undefined when it did not get an answer. */
  const attempt = (timeout = 5_000): Promise<number | undefined> =>
    ask(pki, front, '/echo/x', { client: pki.doctor, timeout, signal: AbortSignal.timeout(timeout) }).then(({ status }) => status, () => undefined);

  it('the address of the client passes the balancer, and both of them are used', async () => {
    await expect.poll(() => attempt()).toBe(200);
    expect(backend.seen.at(-1)?.headers['x-forwarded-for']).toBe('127.0.0.1');
    const served = async (node: Node): Promise<boolean> => /wardgate_requests_total\{[^}]*route="echo"/.test(await (await fetch(`http://127.0.0.1:${node.metrics}/metrics`)).text());
    await expect.poll(async () => {
      await Promise.all([attempt(), attempt()]);
      return Promise.all(nodes.map(served));
    }).toEqual([true, true]);
  });

  it('a certificate that is revoked on one of them is refused by the other, connections that are open included', async () => {
    const [one, other] = nodes;
    const synchronized = async ({ directory }: Node): Promise<boolean> => {
      const { stdout } = await wardgate(['status', '--json', '-c', join(directory, 'wardgate.yaml')]);
      return (JSON.parse(stdout) as { store?: { synchronized_at?: string } }).store?.synchronized_at !== undefined;
    };
    await expect.poll(async () => Promise.all(nodes.map(synchronized))).toEqual([true, true]);
    const sockets = await Promise.all(Array.from({ length: 6 }, () => openTls(pki, front, { client: pki.patient })));
    for (const socket of sockets) expect(await exchange(socket, 'GET /echo/x HTTP/1.1\r\nHost: localhost\r\n\r\n', (text) => text.endsWith('hello'))).toMatch(/^HTTP\/1\.1 200 /);
    const ended = Promise.all(sockets.map((socket) => once(socket, 'close')));
    const started = performance.now();
    expect(await wardgate(['revoke', '-c', join(one.directory, 'wardgate.yaml'), '--cert', join(one.directory, 'patient.pem'), '--reason', 'phone lost'])).toMatchObject({ code: 0 });
    await ended;
    expect(performance.now() - started).toBeLessThan(5_000);
    for (let round = 0; round < 6; round++) expect((await ask(pki, front, '/echo/x', { client: pki.patient })).status).toBe(403);
    const { stdout } = await wardgate(['status', '--json', '-c', join(other.directory, 'wardgate.yaml')]);
    expect((JSON.parse(stdout) as { deny_list: readonly { reason: string }[] }).deny_list).toMatchObject([{ reason: 'phone lost' }]);
  });

  it.skipIf(!nginxInstalled)('the address of the client passes nginx, too, and is on record with either of them', async () => {
    open = await Promise.all(Array.from({ length: 8 }, () => openTls(pki, nginxPort, { client: pki.doctor, localAddress: '127.0.0.7' })));
    for (const socket of open) expect(await get(socket, '/echo/nginx')).toMatch(/^HTTP\/1\.1 200 /);
    const records = await recordsOf('/echo/nginx');
    expect(records.map((some) => [some.length > 1, new Set(some.map(({ address }) => address))])).toEqual([[true, new Set(['127.0.0.7'])], [true, new Set(['127.0.0.7'])]]);
  });

  it('one of them killed under load: clients are served within 10 s, and all of them from then on', async () => {
    const [one] = nodes;
    let going = true;
    const gaps: number[] = [];
    let failed = 0;
    let killedAt = 0;
    let served = 0;
    // Each client connects anew for every request, as one whose connection was cut does, and holds none of them for longer than 5 s.
    const clients = Array.from({ length: 8 }, async () => {
      let last = performance.now();
      while (going) {
        const status = await attempt();
        const at = performance.now();
        if (status !== 200) {
          failed++;
          continue;
        }
        served++;
        if (killedAt > 0) gaps.push(at - Math.max(last, killedAt));
        last = at;
      }
    });
    await expect.poll(() => served, { interval: 20 }).toBeGreaterThan(20);
    killedAt = performance.now();
    process.kill(one.running.pid, 'SIGKILL');
    await once(one.running.child, 'exit');
    // Until the balancer has noticed, and then many more: none of those may fail.
    await expect.poll(() => performance.now() - killedAt, { interval: 50 }).toBeGreaterThan(3_000);
    const settled = failed;
    const before = served;
    await expect.poll(() => served, { interval: 20 }).toBeGreaterThan(before + 50);
    going = false;
    await Promise.all(clients);
    expect(failed - settled).toBe(0);
    expect(Math.max(...gaps)).toBeLessThan(10_000);
    console.log(`killed: longest time without an answer ${Math.max(...gaps).toFixed(0)} ms, ${settled} requests failed`);
  });

  it.skipIf(!nginxInstalled)('nginx ends the connections of the one that was killed, keeps those of the other, and takes whoever comes to that', async () => {
    await expect.poll(() => open.filter(({ destroyed }) => destroyed).length).toBeGreaterThan(0);
    const kept = open.filter(({ destroyed }) => !destroyed);
    expect(kept.length).toBeGreaterThan(0);
    for (const socket of kept) expect(await get(socket, '/echo/kept')).toMatch(/^HTTP\/1\.1 200 /);
    // Not one of them fails: nginx has not noticed yet that a gateway is gone.
    for (let round = 0; round < 10; round++) expect((await ask(pki, nginxPort, '/echo/come', { client: pki.doctor, localAddress: '127.0.0.7' })).status).toBe(200);
    expect((await recordsOf('/echo/come')).map((some) => some.map(({ address }) => address))).toEqual([[], Array.from({ length: 10 }, () => '127.0.0.7')]);
  });
});
