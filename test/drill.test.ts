import { spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { callGateway } from '../src/cli/call.ts';
import { wardgate } from './support/command.ts';
import { configuration, gatewayDirectory, listener, readRecords } from './support/gateway.ts';
import { testPki } from './support/pki.ts';

let directory: string;

beforeAll(async () => {
  directory = await gatewayDirectory(await testPki());
  // A folder of its own: others may drill at the same time.
  await mkdir(join(directory, 'tmp'));
  process.env['TMPDIR'] = join(directory, 'tmp');
  await writeFile(join(directory, 'wardgate.yaml'), configuration(9, {
    listeners: `${listener('clinical').replace('tls:', 'tls:\n      roots: [backend-ca.pem]\n      stapling: { responder: "http://127.0.0.1:9/" }')}
  - { name: mllp, address: "127.0.0.1:0", protocol: tcp, tls: { certificates: [{ certificate: server-ec.pem, key: server-ec.key }] }, client_auth: { trust: [root.pem] }, allow: [device], upstream: peer }`,
    roles: `
  - { role: doctor, match: { subject: { OU: Doctors }, issuer: { CN: Hospital Issuing CA } }, id: "{subject.CN}" }
  - { role: patient, match: { san: { uri: "urn:patient:*" } }, id: "{san.uri}" }
  - { role: device, match: { subject: { OU: Devices } }, id: "{san.dns}" }`,
    routes: `
  - { name: records, match: { host: api.hospital.test, path: /records/:id, methods: [GET] }, allow: [doctor], upstream: records, phi: true, require: { networks: [10.0.0.0/8] } }
  - { name: uploads, match: { path: /uploads/* }, allow: [patient, device], upstream: records, unavailable: { allow_for: 1h } }
  - { name: any, match: { path: /any/* }, allow: [patient], upstream: records, unavailable: allow }`,
    revocation: '{ sources: [crl, ocsp], crl: { files: [issuing.crl, root.crl] } }',
    upstreams: `
  records: { endpoints: ["https://10.255.0.1:9443"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key } }
  peer: { endpoints: ["tls://10.255.0.1:2575"], tls: { trust: backend-ca.pem, certificate: gateway.pem, key: gateway.key } }`,
  }));
});

afterAll(async () => {
  delete process.env['TMPDIR'];
  await rm(directory, { recursive: true, force: true });
});

interface Report {
  readonly passed: boolean;
  readonly findings: readonly { readonly what: string; readonly ok: boolean; readonly detail?: string; readonly ms?: number }[];
  readonly hit: readonly { readonly role: string; readonly routes: readonly string[]; readonly listeners: readonly string[] }[];
  readonly left_out: readonly string[];
}

async function drill(name: string, ...args: string[]): Promise<Report & { readonly code: number | null }> {
  const run = await wardgate(['drill', name, '-c', join(directory, 'wardgate.yaml'), '--who', 'Chen', '--json', ...args]);
  expect(run.stderr).toBe('');
  const report = JSON.parse(run.stdout) as Report;
  return { code: run.code, ...report };
}

const missed = ({ findings }: Report): readonly object[] => findings.filter(({ ok }) => !ok);
const detailOf = ({ findings }: Report, what: string): string | undefined => findings.find((finding) => finding.what.startsWith(what))?.detail;

it('asks the admin socket over a connection of its own each time: one kept from a gateway that has ended would be taken for one that runs', async () => {
  const socket = join(directory, 'asked.sock');
  let connections = 0;
  const server = createServer((_request, response) => response.end('{}')).on('connection', () => (connections += 1)).listen(socket);
  await once(server, 'listening');
  for (const _ of ['before', 'after']) await callGateway(socket, 'GET', '/v1/status');
  expect(connections).toBe(2);
  server.close();
  await once(server, 'close');
  expect(await callGateway(socket, 'GET', '/v1/status')).toBeUndefined();
});

describe('a drill', () => {
  it('of theft sees every way in closed in time, streams too, and names the routes of the role', async () => {
    const report = await drill('theft');
    expect(missed(report)).toEqual([]);
    expect(report.findings.map(({ what }) => what)).toEqual(expect.arrayContaining(['revoked: the WebSocket ends', 'revoked: the stream ends', 'revoked: a resumed session is refused']));
    // Not by a new handshake that passes for a resumed one.
    expect(detailOf(report, 'revoked: a resumed session')).toBe('by its ticket');
    expect(report.hit).toEqual([{ role: 'doctor', routes: ['records'], listeners: [] }, { role: 'device', routes: ['uploads'], listeners: ['mllp'] }]);
    expect(report.left_out).toEqual(['route records: what it requires beyond the role']);
  });

  it('prints what it found, one line each', async () => {
    const { stdout } = await wardgate(['drill', 'forgery', '-c', join(directory, 'wardgate.yaml'), '--no-record']);
    expect(stdout).toMatch(/^drill forgery: passed in \d+\.\d s, against a staging gateway\nok {6}a certificate of a look-alike CA, as role doctor, is refused: \d+\.\d s \((untrusted_issuer|signature_invalid)\)$/m);
  });

  it('of expiry passes within its bar, fails beyond it, and is on record', async () => {
    expect(missed(await drill('expiry'))).toEqual([]);
    const late = await drill('expiry', '--within', '1ms');
    expect(late).toMatchObject({ code: 1, passed: false });
    const records = await readRecords(join(directory, 'state/audit'));
    expect(records.filter(({ detail }) => String(detail).startsWith('drill expiry: ')).map(({ who, detail }) => [who, String(detail).split(',')[0]])).toEqual([['Chen', 'drill expiry: passed'], ['Chen', expect.stringMatching(/drill expiry: \d of 7 missed/)]]);
  });

  it('of forgery names the reason for each attempt', async () => {
    const report = await drill('forgery');
    expect(missed(report)).toEqual([]);
    expect(detailOf(report, 'a certificate with a broken signature, as role doctor')).toBe('signature_invalid');
    expect(detailOf(report, 'a server\'s certificate')).toBe('eku_invalid');
    expect(detailOf(report, 'identity headers')).toBe('the request passed without them');
  });

  it('of a responder that is down says what each route does', async () => {
    const report = await drill('responder-down');
    expect(missed(report)).toEqual([]);
    expect(detailOf(report, 'route records, role doctor (deny)')).toContain('a certificate never seen: refused');
    expect(detailOf(report, 'route any, role patient (allow)')).toContain('a certificate never seen: let in');
  });

  it('of a compromised CA cuts off its roles alone, and another CA takes over', async () => {
    const report = await drill('ca-compromise');
    expect(missed(report)).toEqual([]);
    expect(report.hit.map(({ role }) => role)).toEqual(['doctor']);
    expect(report.findings.map(({ what }) => what)).toContain('role patient has another issuer and is still served');
  });

  it('of a restore serves again what was lost, and nothing of a drill stays behind', async () => {
    const report = await drill('restore', '--no-record');
    expect(missed(report)).toEqual([]);
    expect(readdirSync(join(directory, 'tmp'))).toEqual([]);
  });

  it('that is interrupted leaves none of its keys behind', async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, '../src/main.ts'), 'drill', 'theft', '-c', join(directory, 'wardgate.yaml'), '--no-record'], { stdio: 'ignore' });
    await expect.poll(() => readdirSync(join(directory, 'tmp'), { recursive: true }).some((name) => String(name).endsWith('server.key'))).toBe(true);
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([130, null]);
    expect(readdirSync(join(directory, 'tmp'))).toEqual([]);
  });
});
