import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TlsListenerConfig } from '../src/config/schema.ts';
import { loadSnapshot, type Snapshot } from '../src/config/snapshot.ts';
import { createContexts } from '../src/tls/contexts.ts';
import { createTlsListener } from '../src/tls/listener.ts';
import { deriveTicketKey, randomTicketSecret, ticketWindow, type TicketSecret } from '../src/tls/tickets.ts';
import { trustDigest } from '../src/tls/trust-digest.ts';
import { startBackend } from './support/backend.ts';
import { configuration, gatewayDirectory, startGateway } from './support/gateway.ts';
import { testPki, type TestPki } from './support/pki.ts';

const HOUR = 3_600_000;
/** The beginning of an epoch of twelve hours. */
const EPOCH = 12 * HOUR * 41_000;

let pki: TestPki;
let directory: string;
let snapshot: Snapshot;

beforeAll(async () => {
  pki = await testPki();
  directory = await gatewayDirectory(pki);
  const yaml = configuration(1, { clientAuth: '{ mode: optional, trust: [root.pem], intermediates: [issuing.pem], names: { api.demo.wardgate.test: { trust: [issuing.pem] } } }' });
  await writeFile(join(directory, 'wardgate.yaml'), yaml);
  const result = await loadSnapshot(join(directory, 'wardgate.yaml'), { now: Date.now(), cores: 1 });
  if (result.kind !== 'ok') throw new Error(JSON.stringify(result.issues));
  ({ snapshot } = result);
});

afterAll(() => rm(directory, { recursive: true, force: true }));

const shared = (): TicketSecret => ({ octets: randomBytes(32), since: 0 });

interface Serving {
  readonly port: number;
  at(time: number): void;
  close(): void;
}

/** A listener whose clock is set: what it accepts it answers with one octet. `change` makes another configuration of it. */
async function serve(secret: TicketSecret, time: number, one: { readonly name?: string; readonly trust?: string; readonly single?: true; readonly keyIsAway?: () => boolean } = {}): Promise<Serving> {
  let now = time;
  const config = { ...snapshot.config.listeners[0] as TlsListenerConfig, name: one.name ?? 'clinical' };
  const { realms, ...material } = snapshot.listeners['clinical'] as NonNullable<Snapshot['listeners'][string]>;
  const contexts = createContexts(config, { ...material, realms: one.single ? realms.slice(0, 1) : realms }, [], { secret, trust: (realm) => one.trust ?? trustDigest(snapshot, config, realm) });
  const groups = contexts.groups.map((group) => ({
    ...group,
    options: Object.defineProperty({ ...group.options }, 'key', {
      enumerable: true,
      get() {
        if (one.keyIsAway?.() === true) throw new Error('DECODER routines::unsupported');
        return group.options.key;
      },
    }),
  }));
  const listener = createTlsListener({
    config, contexts: { ...contexts, groups },
    door: { enter: () => ({ kind: 'entered', places: { address: () => true, certificate: () => true, leave: () => undefined } }) },
    turnedAway: () => undefined, isolated: () => false, alpn: () => [], failed: () => undefined, durations: () => undefined, now: () => now,
    accept: ({ socket }) => void socket.end('x'),
  });
  const port = await listener.listen('127.0.0.1', 0);
  return {
    port, close: () => listener.close(),
    at(next) {
      now = next;
      listener.turn();
    },
  };
}

interface Visit {
  readonly resumed: boolean;
  readonly session: Buffer | undefined;
  readonly answer: string;
}

/** One connection from handshake to end, and the last session that it was given. */
async function visit(port: number, version: 'TLSv1.2' | 'TLSv1.3', { session, servername = 'localhost', request = '' }: { readonly session?: Buffer | undefined; readonly servername?: string; readonly request?: string } = {}): Promise<Visit> {
  const socket: TLSSocket = connect({
    host: '127.0.0.1', port, servername, ca: pki.root.certificate, cert: pki.doctor.chain, key: pki.doctor.key, minVersion: version, maxVersion: version,
    ...(session === undefined ? {} : { session }),
  });
  let latest: Buffer | undefined;
  socket.on('session', (given: Buffer) => {
    latest = given;
  });
  await once(socket, 'secureConnect');
  const resumed = socket.isSessionReused();
  let answer = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.toString('latin1');
  });
  socket.write(request);
  await once(socket, 'close');
  return { resumed, session: latest, answer };
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a session ticket over %s', (version) => {
  it('outlives the end of its key\'s epoch by the life of a session, and no longer', async () => {
    const serving = await serve(shared(), EPOCH + 11 * HOUR);
    const { session } = await visit(serving.port, version);
    const resumedAt = async (time: number): Promise<boolean> => {
      serving.at(time);
      return (await visit(serving.port, version, { session })).resumed;
    };
    expect(await resumedAt(EPOCH + 12 * HOUR - 1)).toBe(true);
    expect(await resumedAt(EPOCH + 12 * HOUR)).toBe(true);
    expect(await resumedAt(EPOCH + 14 * HOUR - 1)).toBe(true);
    expect(await resumedAt(EPOCH + 14 * HOUR)).toBe(false);
    // A clock that was set back.
    expect(await resumedAt(EPOCH + 11 * HOUR)).toBe(true);
    serving.close();
  });

  it('changes its key with the epoch even when the private key cannot be had then (a token that is away): nothing is thrown at the thread', async () => {
    let away = false;
    const serving = await serve(shared(), EPOCH + 11 * HOUR, { keyIsAway: () => away });
    const { session } = await visit(serving.port, version);
    away = true;
    serving.at(EPOCH + 13 * HOUR);
    const next = await visit(serving.port, version);
    expect([next.resumed, next.answer]).toEqual([false, 'x']);
    serving.at(EPOCH + 15 * HOUR);
    expect((await visit(serving.port, version, { session: next.session })).resumed).toBe(true);
    expect((await visit(serving.port, version, { session })).resumed).toBe(false);
    serving.close();
  });

  it('is made with the new key from the boundary on', async () => {
    const serving = await serve(shared(), EPOCH + 12 * HOUR - 1);
    serving.at(EPOCH + 12 * HOUR);
    const { session } = await visit(serving.port, version);
    serving.at(EPOCH + 26 * HOUR - 1);
    expect((await visit(serving.port, version, { session })).resumed).toBe(true);
    serving.close();
  });

  it.each([['one whose clock is a minute ahead', 59_000], ['one whose clock is a minute behind', -59_000], ['one whose clock is right', 0]])('of %s is taken by a replica, before and after the boundary', async (_, ahead) => {
    const secret = shared();
    const [one, other] = await Promise.all([serve(secret, EPOCH + ahead), serve(secret, EPOCH)]);
    for (const time of [-60_000, -1, 0, 1, 60_000]) {
      one.at(EPOCH + time + ahead);
      other.at(EPOCH + time);
      const { session } = await visit(one.port, version);
      expect((await visit(other.port, version, { session })).resumed, `${time} ms`).toBe(true);
    }
    one.close();
    other.close();
  });

  it('of another listener, of another name, or of before trust changed is a full handshake, never an error', async () => {
    const secret = shared();
    const [one, elsewhere, changed] = await Promise.all([serve(secret, EPOCH), serve(secret, EPOCH, { name: 'other' }), serve(secret, EPOCH, { trust: 'another' })]);
    const { session } = await visit(one.port, version);
    expect(await visit(elsewhere.port, version, { session })).toMatchObject({ resumed: false });
    expect(await visit(changed.port, version, { session })).toMatchObject({ resumed: false });
    expect(await visit(one.port, version, { session, servername: 'api.demo.wardgate.test' })).toMatchObject({ resumed: false });
    expect(await visit(one.port, version, { session })).toMatchObject({ resumed: true });
    for (const { close } of [one, elsewhere, changed]) close();
  });

  it('of a listener with one set of certificates is taken in the same way', async () => {
    const serving = await serve(shared(), EPOCH + 11 * HOUR, { single: true });
    const { session } = await visit(serving.port, version);
    for (const [time, resumed] of [[13, true], [14, false]] as const) {
      serving.at(EPOCH + time * HOUR);
      expect((await visit(serving.port, version, { session })).resumed).toBe(resumed);
    }
    serving.close();
  });
});

describe('the keys that count', () => {
  const rotate = 12 * HOUR;
  const at = (time: number, since = 0) => {
    const { current, others } = ticketWindow({ rotate, secret: { octets: new Uint8Array(), since } }, EPOCH + time);
    return [current - 41_000, ...others.map((other) => other - 41_000)];
  };

  it('are one, but for the life of a session after a boundary and a minute before it', () => {
    expect([0, 2 * HOUR - 1, 2 * HOUR, rotate - 60_001, rotate - 60_000, rotate].map((time) => at(time))).toEqual([[0, -1], [0, -1], [0], [0], [0, 1], [1, 0]]);
  });

  it('are none of before the secret was made, where it is the gateway\'s own, nor of after', () => {
    expect([HOUR, rotate - 1, rotate].map((time) => at(time, EPOCH + HOUR))).toEqual([[0], [0], [1, 0]]);
  });

  it('change exactly where the window ends', () => {
    for (const since of [0, EPOCH + HOUR]) {
      const window = (now: number) => ticketWindow({ rotate, secret: { octets: new Uint8Array(), since } }, now);
      for (let now = EPOCH; now < EPOCH + 2 * rotate;) {
        const { until, from, ...keys } = window(now);
        expect(from).toBe(now);
        expect(window(until - 1)).toEqual({ until, from, ...keys });
        now = until;
      }
    }
  });

  it('are another for another epoch, length of epochs, purpose and secret, and the same where all are the same', () => {
    const secret = randomTicketSecret(0);
    const keys = { secret, rotate, purpose: 'a' };
    const made = [deriveTicketKey(keys, 1), deriveTicketKey(keys, 2), deriveTicketKey({ ...keys, rotate: HOUR }, 1), deriveTicketKey({ ...keys, purpose: 'b' }, 1), deriveTicketKey({ ...keys, secret: randomTicketSecret(0) }, 1)];
    expect(new Set(made.flatMap((key) => [key.toString('hex', 0, 16), key.toString('hex', 16, 32), key.toString('hex', 32)])).size).toBe(15);
    expect(deriveTicketKey({ ...keys }, 1)).toEqual(made[0]);
  });
});

describe('what a listener trusts, as a digest', () => {
  const listener = () => snapshot.config.listeners[0] as TlsListenerConfig;
  const realm = () => (snapshot.listeners['clinical'] as NonNullable<Snapshot['listeners'][string]>).realms[0] as NonNullable<Snapshot['listeners'][string]>['realms'][number];
  const before = () => trustDigest(snapshot, listener(), realm());

  it('is another for other anchors, intermediates, roles, revocation settings and contents of files that roles name', () => {
    const { config } = snapshot;
    const other = [
      trustDigest(snapshot, listener(), { ...realm(), anchors: [...realm().anchors, pki.backendCa.der] }),
      trustDigest(snapshot, listener(), { ...realm(), intermediates: [] }),
      trustDigest({ ...snapshot, config: { ...config, roles: config.roles.slice(1) } }, listener(), realm()),
      trustDigest({ ...snapshot, config: { ...config, revocation: { ...config.revocation, check: 'leaf' } } }, listener(), realm()),
      trustDigest({ ...snapshot, config: { ...config, trust_domains: { a: { trust: ['a.pem'] } } } }, listener(), realm()),
      trustDigest({ ...snapshot, config: { ...config, trust_domains: { a: { trust: ['a.pem'] } } }, authorities: { 'a.pem': [pki.root.der] } }, listener(), realm()),
    ];
    expect(new Set([before(), ...other]).size).toBe(7);
  });

  it('is the same for the same anchors in another order, other file names, and other CRL files', () => {
    const { config } = snapshot;
    const two = { ...realm(), anchors: [pki.root.der, pki.backendCa.der] };
    expect(trustDigest(snapshot, listener(), two)).toBe(trustDigest(snapshot, listener(), { ...two, anchors: two.anchors.toReversed() }));
    const named = (file: string) => trustDigest({ config: { ...config, trust_domains: { a: { trust: [file] } } }, authorities: { [file]: [pki.root.der] } }, listener(), realm());
    expect(named('a.pem')).toBe(named('b.pem'));
    expect(trustDigest({ ...snapshot, config: { ...config, revocation: { ...config.revocation, crl: { ...config.revocation.crl, files: [] } } } }, listener(), realm())).toBe(before());
  });
});

describe('a gateway of two threads', () => {
  it('resumes every client that comes back until trust changes, and again after each has come anew; the metrics say so', async () => {
    const backend = await startBackend(pki);
    const served = await startGateway(pki, backend.port, { top: 'metrics: { address: 127.0.0.1:0 }' });
    const handshakes = async (resumed: boolean): Promise<number> => {
      const text = await (await fetch(`http://127.0.0.1:${served.gateway.metrics?.port}/metrics`)).text();
      const lines = text.split('\n').filter((line) => line.startsWith('wardgate_handshakes_total{') && line.includes(`resumed="${resumed}"`) && line.includes('result="accepted"'));
      return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    };
    /** The share of clients that a round of visits resumed, as the clients and as the metrics have it; afterwards each has its latest session. */
    const round = async (clients: (Buffer | undefined)[]): Promise<readonly [number, number]> => {
      const before = [await handshakes(true), await handshakes(false)] as const;
      const visits = await Promise.all(clients.map((session, index) => get(served.port, index % 2 === 0 ? 'TLSv1.2' : 'TLSv1.3', session)));
      visits.forEach(({ session }, index) => {
        clients[index] = session ?? clients[index];
      });
      const [resumed, full] = [await handshakes(true) - before[0], await handshakes(false) - before[1]];
      return [visits.filter((one) => one.resumed).length / visits.length, resumed / (resumed + full)];
    };
    const clients: (Buffer | undefined)[] = Array.from({ length: 12 }, () => undefined);
    expect(await round(clients)).toEqual([0, 0]);
    expect(await round(clients)).toEqual([1, 1]);
    const yaml = await readFile(served.path('wardgate.yaml'), 'utf8');
    // What is not about trust leaves sessions alone.
    await served.configure(yaml.replace('sources: [crl]', 'sources: [crl], ocsp: { from_certificate: true }').replace('methods: [GET]', 'methods: [GET, HEAD]'));
    await served.gateway.reload();
    expect(await round(clients)).toEqual([1, 1]);
    await served.configure(yaml.replace('trust: [root.pem]', 'trust: [root.pem, backend-ca.pem]'));
    await served.gateway.reload();
    expect(await round(clients)).toEqual([0, 0]);
    expect(await round(clients)).toEqual([1, 1]);
    await served.stop();
    await backend.close();
  });
});

/** A connection that asks for something, and has its answer. */
async function get(port: number, version: 'TLSv1.2' | 'TLSv1.3', session: Buffer | undefined): Promise<Visit> {
  const visited = visit(port, version, { session, request: 'GET /records HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' });
  expect((await visited).answer).toMatch(/^HTTP\/1.1 200 /);
  return visited;
}
