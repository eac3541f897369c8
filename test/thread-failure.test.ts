import type { ClientHttp2Session } from 'node:http2';
import { Agent } from 'node:https';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Log } from '../src/gateway.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { ask, startGateway, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
let backend: Backend;
let gateway: TestGateway;
/** The data-plane threads that were ever started. */
const threads: Worker[] = [];
const born = (worker: Worker): void => {
  if (worker.threadName?.startsWith('wardgate-') === true) threads.push(worker);
};
const said: string[] = [];

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki, (request, response) => void response.end(request.url));
  process.on('worker', born);
  const say = (_fields: unknown, message: string): void => void said.push(message);
  const log: Log = { info: say, warn: say, error: say };
  gateway = await startGateway(pki, backend.port, { log });
});

afterAll(async () => {
  process.off('worker', born);
  await gateway.stop();
  await backend.close();
});

interface Got {
  /** 0 when the connection ended before the answer was whole. */
  readonly status: number;
  readonly body: string;
  readonly requestId: string;
}

/** A client that asks one request after the other, and connects again when its connection has ended. */
interface Client {
  readonly got: Got[];
  /** Connections that were made. */
  connections(): number;
  ask(path: string): Promise<Got>;
  close(): void;
}

const CUT: Got = { status: 0, body: '', requestId: '' };

function http1Client(): Client {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const made = new Set<unknown>();
  agent.on('free', (socket) => made.add(socket));
  return {
    got: [],
    connections: () => made.size,
    ask: (path) => ask(pki, gateway.port, path, { client: pki.doctor, agent }).then(gotOf, () => CUT),
    close: () => agent.destroy(),
  };
}

function http2Client(): Client {
  let session: ClientHttp2Session | undefined;
  let made = 0;
  return {
    got: [],
    connections: () => made,
    async ask(path) {
      try {
        if (session === undefined || session.closed || session.destroyed) {
          session = await openHttp2(pki, gateway.port, { client: pki.doctor });
          made += 1;
        }
        const reply = await askHttp2(session, path);
        return reply.code === 0 ? gotOf(reply) : CUT;
      } catch {
        return CUT;
      }
    },
    close: () => session?.destroy(),
  };
}

function gotOf({ status, body, headers }: { readonly status: number; readonly body: Buffer; readonly headers: NodeJS.Dict<string | string[]> }): Got {
  return { status, body: body.toString(), requestId: String(headers['x-request-id']) };
}

/** The name of each thread by the requests that it has recorded: each writes a file of its own. */
async function recordedBy(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const directory = gateway.path('state/audit');
  for (const file of await readdir(directory)) {
    const thread = /-t(\d+)\.jsonl$/.exec(file)?.[1];
    if (thread === undefined) continue;
    for (const [, id] of (await readFile(join(directory, file), 'utf8')).matchAll(/"request_id":"([^"]+)"/g)) found.set(id as string, `wardgate-${thread}`);
  }
  return found;
}

it('a thread that dies under load takes the requests along that it had under way and no others; its clients are served by others, and it is replaced', async () => {
  const clients = [...Array.from({ length: 12 }, http1Client), ...Array.from({ length: 6 }, http2Client)];
  // Every client on a connection of its own, until both threads have some of either protocol.
  const first = await Promise.all(clients.map((client) => client.ask('/echo/first')));
  expect(first.map(({ status }) => status)).toEqual(clients.map(() => 200));
  const at = await recordedBy();
  const home = new Map(clients.map((client, index) => [client, at.get((first[index] as Got).requestId)]));
  const [victim] = threads as [Worker];
  const bereaved = clients.filter((client) => home.get(client) === victim.threadName);
  const others = clients.filter((client) => !bereaved.includes(client));
  expect(bereaved.length).toBeGreaterThan(0);
  expect(others.length).toBeGreaterThan(0);

  let going = true;
  let round = 0;
  const load = clients.map(async (client) => {
    while (going) {
      // One that is audited before it is answered, and one that is not PHI.
      const path = round++ % 2 === 0 ? '/records' : `/echo/${round}`;
      const got = await client.ask(path);
      if (got.status === 200) expect(got.body).toBe(path);
      client.got.push(got);
    }
  });
  const served = (client: Client): number => client.got.filter(({ status }) => status === 200).length;
  const everyoneServed = (since: ReadonlyMap<Client, number>, times: number): boolean => clients.every((client) => served(client) >= (since.get(client) ?? 0) + times);
  const now = (): ReadonlyMap<Client, number> => new Map(clients.map((client) => [client, served(client)]));

  await expect.poll(() => everyoneServed(new Map(), 5)).toBe(true);
  await victim.terminate();
  const died = now();
  await expect.poll(() => everyoneServed(died, 10)).toBe(true);
  await expect.poll(() => said).toContain('the replacement serves');
  const replaced = now();
  await expect.poll(() => everyoneServed(replaced, 10)).toBe(true);
  going = false;
  await Promise.all(load);

  for (const client of others) {
    expect(client.got.filter(({ status }) => status !== 200)).toEqual([]);
    expect(client.connections()).toBe(1);
  }
  for (const client of bereaved) {
    // At most the one that was under way, and then as many as it took to connect again while a listening socket was going.
    const failed = client.got.map(({ status }) => status).flatMap((status, index) => (status === 200 ? [] : [index]));
    expect(client.got.every(({ status }) => status === 200 || status === 0)).toBe(true);
    expect(failed).toEqual(failed.map((_, index) => (failed[0] as number) + index));
    expect(client.connections()).toBeGreaterThanOrEqual(2);
  }

  // Whatever a client has as a whole is on record, whichever thread answered and lived.
  const records = new Map((await gateway.records()).map((record) => [record['request_id'], record]));
  for (const { status, requestId } of clients.flatMap(({ got }) => got)) {
    if (status === 200) expect(records.get(requestId)).toMatchObject({ event: 'request', result: 'permitted', status: 200 });
  }

  // The one that came instead takes its share of new connections.
  expect(threads).toHaveLength(3);
  const replacement = threads[2]?.threadName;
  await expect.poll(async () => {
    const { headers } = await ask(pki, gateway.port, '/records', { client: pki.doctor });
    return (await recordedBy()).get(String(headers['x-request-id']));
  }).toBe(replacement);
  for (const client of clients) client.close();
}, 60_000);
