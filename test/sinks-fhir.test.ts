import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { FhirSetup } from '../src/audit/sinks/setup.ts';
import { startFeeding, type Feeding } from './support/feeding.ts';
import { testPki, type TestPki } from './support/pki.ts';

interface Event {
  readonly resourceType: string;
  readonly id: string;
  readonly meta?: { readonly tag?: readonly { readonly system: string; readonly code: string }[] };
}

interface Call {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly events: readonly Event[];
  readonly client: string;
}

/** What a repository makes of a call: a status for all of it, one for each of its events, or nothing, ever. */
type Ruling = number | ((event: Event) => number) | 'silence';

let pki: TestPki;
let feeding: Feeding;
let server: Server | undefined;
let calls: Call[] = [];
/** Ids of the AuditEvents it has. */
let held: Set<string>;
let ruling: Ruling = 201;
/** What is answered with 200, whatever was sent. */
let said: string | undefined;

beforeAll(async () => {
  pki = await testPki();
});

beforeEach(async () => {
  feeding = await startFeeding();
  calls = [];
  held = new Set();
  ruling = 201;
  said = undefined;
});

afterEach(async () => {
  await feeding.stop();
  await new Promise((done) => server?.close(done).closeAllConnections() ?? done(undefined));
});

async function startRepository(): Promise<number> {
  const { chain: cert, key } = pki.backendServer;
  const started = createServer({ cert, key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => answer(request, response, JSON.parse(Buffer.concat(parts).toString()) as Event & { entry?: { resource: Event }[] }));
  });
  server = started;
  await new Promise<void>((done) => started.listen(0, '127.0.0.1', done));
  return (started.address() as AddressInfo).port;
}

function answer(request: IncomingMessage, response: ServerResponse, body: Event & { entry?: { resource: Event }[] }): void {
  const events = body.entry?.map(({ resource }) => resource) ?? [body];
  const client = (request.socket as unknown as { getPeerCertificate(): { subject: { CN: string } } }).getPeerCertificate().subject.CN;
  calls.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, events, client });
  if (ruling === 'silence') return;
  if (said !== undefined) return void response.writeHead(200).end(said);
  const of = (event: Event): number => {
    const status = typeof ruling === 'function' ? ruling(event) : ruling === 'silence' ? 500 : ruling;
    if (status === 201) held.add(event.id);
    return status;
  };
  const statuses = typeof ruling === 'number' && ruling !== 201 ? [ruling] : events.map(of);
  const whole = body.entry === undefined || (typeof ruling === 'number' && ruling !== 201) ? statuses[0] ?? 500 : 200;
  response.writeHead(whole, { 'content-type': 'application/fhir+json' });
  response.end(JSON.stringify(body.entry === undefined || whole !== 200
    ? { resourceType: 'OperationOutcome' }
    : { resourceType: 'Bundle', type: 'batch-response', entry: statuses.map((status) => ({ response: { status: `${status} said` } })) }));
}

function fhir(port: number, parts: Partial<FhirSetup> = {}): FhirSetup {
  return {
    kind: 'fhir', name: 'repository', history: false, url: `https://127.0.0.1:${port}/fhir`, trust: pki.backendCa.certificate, certificate: pki.gatewayClient.chain, key: pki.gatewayClient.key,
    bundle: 50, tries: 3, repeats: 'tag', timeout: 2_000, deadLetters: feeding.path('repository.dead'), ...parts,
  };
}

function dead(): readonly { readonly seq: number; readonly reason: string; readonly event: Event }[] {
  const path = feeding.path('repository.dead');
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as never) : [];
}

describe('a FHIR sink', () => {
  test('posts batch Bundles with the gateway\'s certificate, each event under the condition that it is not there yet', async () => {
    const port = await startRepository();
    feeding.add(fhir(port));
    await feeding.record(3);
    await expect.poll(() => feeding.report()).toMatchObject({ delivered: 3, lag: { records: 0 } });
    expect(calls.every(({ method, url, client, headers }) => method === 'POST' && /^\/fhir(\/AuditEvent)?$/.test(url) && client === 'wardgate' && headers['content-type'] === 'application/fhir+json')).toBe(true);
    const events = calls.flatMap((call) => call.events);
    expect(new Set(events.map(({ id }) => id)).size).toBe(3);
    expect(events.every(({ resourceType, id, meta }) => resourceType === 'AuditEvent' && meta?.tag?.[0]?.code === id)).toBe(true);
  });

  test.each([
    ['tag', 'POST', '/fhir/AuditEvent', /^_tag=urn%3Awardgate%3Aaudit%7C/],
    ['put', 'PUT', /^\/fhir\/AuditEvent\/.+$/, undefined],
  ] as const)('sends one by one with bundle: 1; repeats: %s', async (repeats, method, url, condition) => {
    const port = await startRepository();
    feeding.add(fhir(port, { bundle: 1, repeats }));
    await feeding.record(2);
    await expect.poll(() => feeding.report()?.delivered).toBe(2);
    expect(calls.map((call) => call.method)).toEqual([method, method]);
    for (const call of calls) {
      expect(call.url).toMatch(url);
      expect(call.headers['if-none-exist'] ?? '').toMatch(condition ?? /^$/);
    }
  });

  test('puts what is refused for itself aside after some tries, with its reason, and delivers the rest', async () => {
    const port = await startRepository();
    let first: string | undefined;
    ruling = ({ id }) => {
      first ??= id;
      return id === first ? 422 : 201;
    };
    feeding.add(fhir(port));
    await feeding.record(4);
    await expect.poll(() => feeding.report()).toMatchObject({ delivered: 4, dead_letters: 1, lag: { records: 0 } });
    expect(dead()).toMatchObject([{ seq: 1, reason: expect.stringContaining('422') as string, event: { id: first } }]);
    expect(held.size).toBe(3);
    expect(calls.flatMap(({ events }) => events).filter(({ id }) => id === first).length).toBe(3);
    expect(feeding.warnings).toEqual([expect.stringContaining('refused 1 AuditEvents for good')]);
  });

  test('takes neither a page that somebody in between answers with 200 for a yes, nor errors in such an answer', async () => {
    const port = await startRepository();
    said = '<html>We are back soon</html>';
    feeding.add(fhir(port, { tries: 1 }));
    await feeding.record(1);
    await expect.poll(() => feeding.report()?.failing).toContain('no FHIR');
    expect(feeding.report()).toMatchObject({ delivered: 0, dead_letters: 0 });
    said = JSON.stringify({ resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'exception' }] });
    await expect.poll(() => feeding.report()).toMatchObject({ dead_letters: 1, lag: { records: 0 } });
    expect(dead()).toMatchObject([{ seq: 1, reason: expect.stringContaining('exception') as string }]);
  });

  test('finds which event it is for which a whole Bundle is refused', async () => {
    const port = await startRepository();
    ruling = 413;
    feeding.add(fhir(port, { tries: 1 }));
    await feeding.record(2);
    await expect.poll(() => feeding.report()).toMatchObject({ dead_letters: 2 });
  });

  test.each([
    ['is overloaded', 503, /503/],
    ['does not know the gateway', 401, /401/],
    ['does not answer', 'silence', /no answer within 300 ms/],
  ] as const)('keeps everything for a repository that %s, and delivers it later', async (_, state, reason) => {
    const port = await startRepository();
    ruling = state;
    feeding.add(fhir(port, { tries: 1, timeout: 300 }));
    await feeding.record(3);
    await expect.poll(() => feeding.report()?.failing).toMatch(reason);
    ruling = 201;
    await expect.poll(() => feeding.report()).toMatchObject({ delivered: 3, dead_letters: 0 });
    expect(held.size).toBe(3);
  });

  test('does not send again what a repository took of a Bundle before it failed', async () => {
    const port = await startRepository();
    const seen: string[] = [];
    let failing = true;
    ruling = ({ id }) => {
      seen.push(id);
      return failing && seen.length > 2 ? 503 : 201;
    };
    await feeding.record(4);
    feeding.add(fhir(port));
    await expect.poll(() => feeding.report()?.failures).toBe(1);
    failing = false;
    await expect.poll(() => feeding.report()?.delivered).toBe(4);
    expect(seen.length).toBe(6);
    expect(seen.slice(4)).toEqual(seen.slice(2, 4));
  });

  test('delivers nothing to a repository whose certificate is of another CA', async () => {
    const port = await startRepository();
    feeding.add(fhir(port, { trust: pki.root.certificate }));
    await feeding.record(1);
    await expect.poll(() => feeding.report()?.failing).toMatch(/certificate/);
    expect(calls).toEqual([]);
  });
});
