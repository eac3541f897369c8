import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { Agent, createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { readLines } from '../../src/audit/lines.ts';
import { readPositions, type FeedPosition } from '../../src/audit/positions.ts';
import { readSegment, segmentNames } from '../../src/audit/segment-file.ts';
import { startBackend } from './backend.ts';
import { callGateway } from '../../src/cli/call.ts';
import type { GatewayStatus } from '../../src/status.ts';
import { wardgateRun } from './command.ts';
import { ask, configuration, gatewayDirectory } from './gateway.ts';
import { testPki, type TestPki } from './pki.ts';
import { startReceiver, type Receiver } from './receiver.ts';

/** What became of the records that a gateway has made, by sink. */
export interface SinkResult {
  readonly records: number;
  /** On record and never received. */
  readonly lost: readonly string[];
  /** Received, and on no record. */
  readonly made_up: readonly string[];
  readonly received: number;
  readonly repeated: number;
  /** Received again although their position said that they were safe there, before the process was killed. */
  readonly repeated_acknowledged: readonly string[];
}

export interface OutageOptions {
  /** Times that the gateway is killed with SIGKILL. */
  readonly kills: number;
  /** Milliseconds of load before each. */
  readonly load: number;
  /** Whether receivers come and go meanwhile. */
  readonly outages: boolean;
  readonly clients?: number;
  readonly say?: (text: string) => void;
}

interface Heard {
  readonly key: string;
  readonly era: number;
}

/** Puts a gateway under load whose sinks are away, cut and deaf in turn, and kills it again and again; then compares what is on record with what has come. */
export async function outage({ kills, load, outages, clients = 6, say = () => undefined }: OutageOptions): Promise<Readonly<Record<string, SinkResult>>> {
  const pki = await testPki();
  const backend = await startBackend(pki);
  const directory = await gatewayDirectory(pki);
  const config = join(directory, 'wardgate.yaml');
  let era = 0;
  const heard: Record<string, Heard[]> = { siem: [], repository: [] };
  /** By era: the first connection of it. */
  const firstConnections = [0];
  const each = (message: string, connection: number): void => {
    const { segment, seq } = JSON.parse(message.slice(message.indexOf('{'))) as { segment: string; seq: number };
    heard['siem']?.push({ key: keyOf(segment, seq), era: firstConnections.findLastIndex((first) => connection > first) });
  };
  let receiver: Receiver = await startReceiver(pki, { each });
  const { port } = receiver;
  let madeBefore = 0;
  const repository = await startRepository(pki, (id) => heard['repository']?.push({ key: id, era }));
  await writeFile(config, configuration(backend.port, { top: `
audit:
  rotate: { size: 64KiB }
  checkpoint: 200ms
  sinks:
    - { name: siem, kind: syslog, receiver: "127.0.0.1:${port}", tls: { ${TLS} }, every: 300ms, timeout: 2s }
    - { name: repository, kind: fhir, url: "https://127.0.0.1:${repository.port}/fhir", tls: { ${TLS} }, timeout: 5s }
    - { name: lines, kind: file, file: lines.jsonl }` }));
  const snapshots: (readonly FeedPosition[])[] = [];
  let completed = 0;
  let running = await wardgateRun(config);
  try {
    for (let kill = 0; kill <= kills; kill++) {
      const agent = new Agent({ keepAlive: true, maxSockets: clients });
      let going = true;
      const asking = Array.from({ length: clients }, async () => {
        while (going) {
          const reply = await ask(pki, running.port, '/records', { client: pki.doctor, agent }).catch(() => undefined);
          if (reply?.status === 200) completed += 1;
          else await new Promise((resolve) => setTimeout(resolve, 5));
        }
      });
      const until = performance.now() + load * (0.75 + Math.random() / 2);
      while (performance.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, load / 8));
        if (!outages) continue;
        const fate = Math.floor(Math.random() * 5);
        if (fate === 0) receiver.cut();
        if (fate === 1) receiver.deafen();
        if (fate === 2) receiver.hear();
        if (fate === 3) repository.fail(Math.random() < 0.5);
        if (fate !== 4) continue;
        madeBefore += receiver.connections();
        await receiver.close();
        await new Promise((resolve) => setTimeout(resolve, load / 4));
        const offset = madeBefore;
        receiver = await startReceiver(pki, { port, each: (message, connection) => each(message, connection + offset) });
      }
      if (kill === kills) {
        going = false;
        await Promise.all(asking);
        agent.destroy();
        break;
      }
      const exit = once(running.child, 'exit');
      process.kill(running.pid, 'SIGKILL');
      await exit;
      going = false;
      await Promise.all(asking);
      agent.destroy();
      snapshots.push(readPositions(join(directory, 'state/feed')));
      firstConnections.push(madeBefore + receiver.connections());
      era += 1;
      say(`killed ${kill + 1} times, ${completed} whole 2xx, siem has ${heard['siem']?.length}, repository ${heard['repository']?.length}`);
      running = await wardgateRun(config);
    }
    receiver.hear();
    repository.fail(false);
    await caughtUp(join(directory, 'state/admin.sock'));
    const records = recordsIn(join(directory, 'state/audit'));
    const lines = readFileSync(join(directory, 'lines.jsonl'), 'utf8').split('\n').slice(0, -1).map((line) => JSON.parse(line) as { segment: string; seq: number });
    return {
      siem: judge(records, heard['siem'] ?? [], 'siem', snapshots),
      repository: judge(records, heard['repository'] ?? [], 'repository', snapshots),
      lines: judge(records, lines.map(({ segment, seq }) => ({ key: keyOf(segment, seq), era: 0 })), 'lines', []),
    };
  } finally {
    await running.stop();
    await receiver.close();
    await repository.close();
    await backend.close();
    await rm(directory, { recursive: true, force: true });
  }
}

const TLS = 'trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key, server_name: records.internal';

/** As the ids of AuditEvents have it. */
function keyOf(segment: string, seq: number): string {
  return `${segment.replace(/\.jsonl$/, '')}.${seq}`;
}

/** Where each record's line ends, by its key. */
function recordsIn(audit: string): ReadonlyMap<string, { readonly segment: string; readonly octets: number }> {
  const found = new Map<string, { segment: string; octets: number }>();
  for (const segment of segmentNames(audit)) {
    let at = 0;
    readSegment(audit, segment, (stretch) => readLines(stretch, Buffer.alloc(0), (text, from, to) => {
      at += to + 1 - from;
      const { event, seq } = JSON.parse(text.toString('utf8', from, to)) as { event: string; seq: number };
      if (event !== 'segment') found.set(keyOf(segment, seq), { segment, octets: at });
      return true;
    }));
  }
  return found;
}

function judge(records: ReturnType<typeof recordsIn>, heard: readonly Heard[], name: string, snapshots: readonly (readonly FeedPosition[])[]): SinkResult {
  const unique = new Set(heard.map(({ key }) => key));
  const safeBefore = ({ key, era }: Heard): boolean => {
    const position = snapshots[era - 1]?.find((one) => one.name === name);
    const place = records.get(key);
    return position !== undefined && place !== undefined && (position.done.has(place.segment) || (position.segments.get(place.segment) ?? 0) >= place.octets);
  };
  return {
    records: records.size, received: heard.length, repeated: heard.length - unique.size,
    lost: [...records.keys()].filter((key) => !unique.has(key)), made_up: [...unique].filter((key) => !records.has(key)),
    repeated_acknowledged: heard.filter(safeBefore).map(({ key }) => key),
  };
}

async function caughtUp(socket: string): Promise<void> {
  const deadline = performance.now() + 120_000;
  for (;;) {
    const status = await callGateway(socket, 'GET', '/v1/status') as GatewayStatus;
    const consumers = status.audit.feed?.consumers ?? [];
    if (consumers.length === 3 && consumers.every(({ lag, failing }) => lag.records === 0 && failing === undefined)) return;
    if (performance.now() > deadline) throw new Error(`the sinks do not catch up: ${JSON.stringify(consumers)}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function startRepository(pki: TestPki, took: (id: string) => void): Promise<{ readonly port: number; fail(failing: boolean): void; close(): Promise<unknown> }> {
  let failing = false;
  const { chain: cert, key } = pki.backendServer;
  const server = createServer({ cert, key, ca: pki.backendCa.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (failing) return void response.writeHead(503).end();
      const body = JSON.parse(Buffer.concat(parts).toString()) as { id?: string; entry?: { resource: { id: string } }[] };
      const ids = body.entry?.map(({ resource }) => resource.id) ?? [body.id ?? ''];
      for (const id of ids) took(id.slice(id.indexOf('.2') + 1));
      response.end(JSON.stringify({ resourceType: 'Bundle', type: 'batch-response', entry: ids.map(() => ({ response: { status: '201' } })) }));
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    fail: (now) => {
      failing = now;
    },
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
