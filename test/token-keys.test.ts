import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer, type ClientOptions } from 'ws';
import { listen } from './support/backend.ts';
import { ask, configuration, startGateway, type GatewayParts, type TestGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';
import { AUDIENCE, claimsFor, ISSUER, signed, signingKey, startIssuer, type SigningKey, type TestIssuer } from './support/tokens.ts';

const ROUTES = '[{ name: plain, match: { path: /plain/* }, allow: [patient], upstream: records, require: { token: { from: ehr } } }, { name: open, match: { path: /open }, allow: [patient], upstream: records }]';
const PATIENCE = { timeout: 20_000, interval: 50 };
/** Longer than any test. */
const NEVER = '10h';

let pki: TestPki;
let backendPort: number;
let closeBackend: () => Promise<void>;
let first: SigningKey;
let second: SigningKey;
let running: { readonly gateway: TestGateway; readonly issuer: TestIssuer | undefined } | undefined;

beforeAll(async () => {
  pki = await testPki();
  first = signingKey('first');
  second = signingKey('second', 'PS256');
  const server = createServer({ cert: pki.backendServer.chain, key: pki.backendServer.key }, (_request, response) => response.end('hello'));
  const sockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => sockets.handleUpgrade(request, socket as TLSSocket, head, () => undefined));
  backendPort = await listen(server);
  closeBackend = () => new Promise((done) => {
    for (const socket of sockets.clients) socket.terminate();
    server.close(() => done());
    server.closeAllConnections();
  });
});

afterAll(() => closeBackend());

afterEach(async () => {
  await running?.gateway.stop();
  await running?.issuer?.close();
  running = undefined;
});

interface Jwks {
  readonly refresh?: string;
  readonly max_age?: string;
  readonly min_interval?: string;
  readonly trust?: string;
}

function tokensYaml(issuer: Pick<TestIssuer, 'url'>, { refresh = NEVER, max_age: maxAge = '20h', min_interval: least = NEVER, trust = 'backend-ca.pem' }: Jwks = {}, more = ''): string {
  return `tokens: { ehr: { issuer: "${ISSUER}", audience: "${AUDIENCE}", skew: 1ms, jwks: { url: "${issuer.url}", trust: ${trust}, refresh: ${refresh}, max_age: ${maxAge}, min_interval: ${least} }${more} } }`;
}

async function start(keys: readonly SigningKey[], jwks: Jwks = {}, parts: GatewayParts = {}): Promise<{ readonly gateway: TestGateway; readonly issuer: TestIssuer }> {
  const issuer = await startIssuer(pki, keys);
  const gateway = await startGateway(pki, backendPort, { routes: ROUTES, top: tokensYaml(issuer, jwks), ...parts });
  running = { gateway, issuer };
  return { gateway, issuer };
}

const token = (key: SigningKey, more: Readonly<Record<string, unknown>> = {}): Promise<string> => signed(key, claimsFor(pki.patient, more));

/** 200, or the reason on record. */
async function verdict({ port, records }: TestGateway, bearer: string): Promise<unknown> {
  const { status, headers } = await ask(pki, port, '/plain/1', { client: pki.patient, headers: { authorization: `Bearer ${bearer}` } });
  if (status === 200) return 200;
  return (await records()).find((record) => record['request_id'] === headers['x-request-id'])?.['reason'];
}

/** The verdict of every thread: each connection may come to another. */
async function verdicts(gateway: TestGateway, bearer: string, times = 8): Promise<readonly unknown[]> {
  const all = [];
  for (let index = 0; index < times; index++) all.push(await verdict(gateway, bearer));
  return [...new Set(all)];
}

describe('the keys of an issuer', () => {
  it('are fetched once for all threads, and a new one when a token names it', async () => {
    const { gateway, issuer } = await start([first], { min_interval: '1ms' });
    const [old, fresh] = [await token(first), await token(second)];
    expect(await verdicts(gateway, old)).toEqual([200]);
    expect(issuer.asked).toBe(1);
    issuer.keys = [first, second];
    expect(await verdicts(gateway, fresh)).toEqual([200]);
    expect(issuer.asked).toBe(2);
    expect(await verdicts(gateway, old)).toEqual([200]);
  });

  it('are taken back within the refresh, and what they verified does not stand', async () => {
    const { gateway, issuer } = await start([first, second], { refresh: '300ms' });
    const [old, other] = [await token(first), await token(second)];
    expect([...await verdicts(gateway, old), ...await verdicts(gateway, other)]).toEqual([200, 200]);
    issuer.keys = [second];
    await expect.poll(() => verdicts(gateway, old), PATIENCE).toEqual(['token_signature']);
    expect(await verdicts(gateway, other)).toEqual([200]);
  });

  it('that are withdrawn while tokens of theirs are in use verify nothing on any thread once a token of the next key was taken', async () => {
    const { gateway, issuer } = await start([first], { min_interval: '1ms' });
    const [old, fresh] = [await token(first), await token(second)];
    const fetched = async (): Promise<unknown> => (await gateway.gateway.status()).tokens[0]?.fetched_at;
    for (let round = 0; round < 2; round++) {
      const [withdrawn, next, keys] = round % 2 === 0 ? [old, fresh, [second]] : [fresh, old, [first]];
      let rotating = true;
      const hammer = Promise.all(Array.from({ length: 3 }, async () => {
        const found: unknown[] = [];
        while (rotating) found.push(await verdict(gateway, withdrawn));
        return found;
      }));
      const before = await fetched();
      issuer.keys = keys;
      expect(new Set(await Promise.all(Array.from({ length: 6 }, () => verdict(gateway, next))))).toEqual(new Set([200]));
      expect(await fetched()).not.toBe(before);
      expect(new Set(await Promise.all(Array.from({ length: 8 }, () => verdict(gateway, withdrawn))))).toEqual(new Set(['token_signature']));
      rotating = false;
      // Neither an error nor another answer in between.
      expect(new Set([...(await hammer).flat(), 200, 'token_signature'])).toEqual(new Set([200, 'token_signature']));
    }
  });

  it('are not asked for by a flood of made-up names', async () => {
    const { gateway, issuer } = await start([first], { min_interval: NEVER }, { threads: 1 });
    const made = await Promise.all(Array.from({ length: 60 }, (_, index) => token({ ...first, kid: `made-up-${index}` })));
    const found = await Promise.all(made.map((one) => verdict(gateway, one)));
    expect(new Set(found)).toEqual(new Set(['token_signature']));
    expect(issuer.asked).toBe(1);
    expect(await verdict(gateway, await token(first))).toBe(200);
  });

  it('that cannot be had at the start deny, until they can', async () => {
    const issuer = await startIssuer(pki, [first]);
    issuer.answer = { status: 503 };
    const gateway = await startGateway(pki, backendPort, { routes: ROUTES, top: `${tokensYaml(issuer, { refresh: '300ms', min_interval: '100ms' })}\nmetrics: { address: "127.0.0.1:0" }` });
    running = { gateway, issuer };
    const bearer = await token(first);
    expect(await verdicts(gateway, bearer)).toEqual(['token_unverifiable']);
    // What asks for no token is served.
    expect((await ask(pki, gateway.port, '/open', { client: pki.patient })).status).toBe(200);
    expect((await gateway.gateway.status()).tokens).toMatchObject([{ tokens: 'ehr', keys: 0, failure: 'HTTP status 503' }]);
    issuer.answer = undefined;
    await expect.poll(() => verdicts(gateway, bearer), PATIENCE).toEqual([200]);
    expect((await gateway.gateway.status()).tokens).toMatchObject([{ tokens: 'ehr', from: issuer.url, keys: 1 }]);
    const metrics = await (await fetch(`http://127.0.0.1:${gateway.gateway.metrics?.port}/metrics`)).text();
    expect(metrics).toContain('wardgate_token_keys{tokens="ehr"} 1');
    expect(metrics).toMatch(/wardgate_token_keys_fetched_timestamp_seconds\{tokens="ehr"\} \d/);
  });

  it('are believed for a while when the issuer is away, and then no more', async () => {
    const { gateway, issuer } = await start([first], { refresh: '200ms', max_age: '2s' }, { threads: 1 });
    const bearer = await token(first);
    expect(await verdict(gateway, bearer)).toBe(200);
    issuer.answer = 'away for maintenance';
    await expect.poll(() => issuer.asked, PATIENCE).toBeGreaterThan(2);
    await expect.poll(() => verdict(gateway, bearer), PATIENCE).toBe('token_unverifiable');
  });

  it('are not taken from where a redirect leads, nor from a server that the trust does not know', async () => {
    const elsewhere = await startIssuer(pki, [first]);
    const { gateway, issuer } = await start([first], { min_interval: '1ms' }, { threads: 1 });
    const bearer = await token(first);
    expect(await verdict(gateway, bearer)).toBe(200);
    await gateway.configure(configuration(backendPort, { threads: 1, routes: ROUTES, top: tokensYaml(issuer, { trust: 'root.pem' }) }));
    await gateway.gateway.reload();
    expect(await verdict(gateway, bearer)).toBe('token_unverifiable');
    issuer.answer = { status: 302, location: elsewhere.url };
    const moved = { url: `${issuer.url}?moved` };
    await gateway.configure(configuration(backendPort, { threads: 1, routes: ROUTES, top: tokensYaml(moved, { min_interval: '1ms' }) }));
    await gateway.gateway.reload();
    expect(await verdict(gateway, bearer)).toBe('token_unverifiable');
    expect(elsewhere.asked).toBe(0);
    await elsewhere.close();
  });

  it('are known to a thread that replaces another', async () => {
    const threads: Worker[] = [];
    const born = (worker: Worker): void => void (worker.threadName?.startsWith('wardgate-') === true && threads.push(worker));
    process.on('worker', born);
    const { gateway, issuer } = await start([first], {}, { threads: 1 });
    const bearer = await token(first);
    await (threads[0] as Worker).terminate();
    await expect.poll(() => threads.length).toBe(2);
    process.off('worker', born);
    await expect.poll(() => verdict(gateway, bearer).catch(() => 'nobody there')).toBe(200);
    expect(issuer.asked).toBe(1);
  });

  it('of a file are read again when it changes; one that cannot be taken leaves the old', async () => {
    const gateway = await startGateway(pki, backendPort, {
      routes: ROUTES, files: { 'keys.json': JSON.stringify({ keys: [first.jwk] }) },
      top: `tokens: { ehr: { issuer: "${ISSUER}", audience: "${AUDIENCE}", jwks: { file: keys.json } } }`,
    });
    running = { gateway, issuer: undefined };
    const replace = async (text: string): Promise<void> => {
      await writeFile(gateway.path('keys.new'), text);
      await rename(gateway.path('keys.new'), gateway.path('keys.json'));
    };
    const [old, fresh] = [await token(first), await token(second)];
    expect([...await verdicts(gateway, old), ...await verdicts(gateway, fresh)]).toEqual([200, 'token_signature']);
    await replace(JSON.stringify({ keys: [second.jwk] }));
    await expect.poll(() => verdicts(gateway, fresh), PATIENCE).toEqual([200]);
    expect(await verdicts(gateway, old)).toEqual(['token_signature']);
    await replace('{"keys":[');
    await expect.poll(async () => (await gateway.gateway.status()).tokens[0]?.failure, PATIENCE).toContain('no JSON Web Key Set');
    expect(await verdicts(gateway, fresh)).toEqual([200]);
  });
});

describe('a reload', () => {
  it('changes issuer, keys and audience together', async () => {
    const { gateway, issuer } = await start([first]);
    const next = await startIssuer(pki, [second]);
    const [old, fresh] = [await token(first), await token(second, { iss: 'https://next.test', aud: 'next' })];
    expect([...await verdicts(gateway, old), ...await verdicts(gateway, fresh)]).toEqual([200, 'token_signature']);
    await gateway.configure(configuration(backendPort, { routes: ROUTES, top: tokensYaml(next).replace(ISSUER, 'https://next.test').replace(AUDIENCE, 'next') }));
    await gateway.gateway.reload();
    expect([...await verdicts(gateway, old), ...await verdicts(gateway, fresh)]).toEqual(['token_signature', 200]);
    expect(issuer.asked).toBe(1);
    await next.close();
  });

  it('that fails leaves the keys as they were', async () => {
    const { gateway } = await start([first]);
    const next = await startIssuer(pki, [second]);
    await gateway.configure(configuration(backendPort, { threads: 3, routes: ROUTES, top: tokensYaml(next) }));
    await expect(gateway.gateway.reload()).rejects.toThrow();
    expect(await verdicts(gateway, await token(first))).toEqual([200]);
    await next.close();
  });
});

describe('a WebSocket that a token let in', () => {
  const open = async ({ port }: TestGateway, bearer: string): Promise<WebSocket> => {
    const socket = new WebSocket(`wss://127.0.0.1:${port}/plain/ws`, [], { ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key, servername: 'localhost', headers: { host: 'localhost', authorization: `Bearer ${bearer}` } } as ClientOptions);
    socket.on('error', () => undefined);
    await once(socket, 'open');
    return socket;
  };

  it('ends when the token does', async () => {
    const { gateway } = await start([first], {}, { threads: 1 });
    const brief = await open(gateway, await token(first, { exp: Date.now() / 1000 + 5 }));
    const lasting = await open(gateway, await token(first));
    await once(brief, 'close');
    expect(lasting.readyState).toBe(WebSocket.OPEN);
    await expect.poll(async () => (await gateway.records()).some(({ reason }) => reason === 'token_expired'), PATIENCE).toBe(true);
    lasting.terminate();
  });

  it('ends when its key is taken back', async () => {
    const { gateway, issuer } = await start([first, second], { refresh: '300ms' });
    const [gone, staying] = [await open(gateway, await token(first)), await open(gateway, await token(second))];
    issuer.keys = [second];
    await once(gone, 'close');
    expect(staying.readyState).toBe(WebSocket.OPEN);
    staying.terminate();
  });
});
