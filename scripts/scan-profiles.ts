import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { GROUPS, namesOf, PROFILES, SUITES } from '../src/config/profiles.ts';
import type { TlsProfile } from '../src/config/schema.ts';
import { startGateway } from '../test/support/gateway.ts';
import { ALL_GROUPS, offer, VERSION } from '../test/support/hello.ts';
import { testPki } from '../test/support/pki.ts';
import { hasProgram, output, profileListeners, sslscan, suitesOf } from '../test/support/scans.ts';
import { profileDocs } from './profile-docs.ts';

// Has testssl and sslscan look at a listener of each profile, and writes what they find into docs/profiles.md: node scripts/scan-profiles.ts

interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

const NAME = 'localhost';
const openssl = new Map<number, string>(Object.values(SUITES).map(({ id, openssl: name }) => [id, name]));
const DOCUMENT = new URL('../docs/profiles.md', import.meta.url);
/** What testssl says of the certificate is about that of the test. */
const ABOUT_THE_TEST = /^(cert|intermediate|DNS_|HSTS|HTTP_|security_headers|cookie|banner|scan|service|clientsimulation|pre_|engine|rating|overall|final|grade|protocol_support_|key_exchange_|cipher_strength_|TLS_extensions|TLS_timestamp|SSL_sessionID|TLS_session_ticket|DH_groups|OCSP|CAA|CRL)/i;

for (const program of ['testssl', 'sslscan']) if (!hasProgram(program)) throw new Error(`needs ${program}`);
const pki = await testPki();
const running = await startGateway(pki, 1, { threads: 1, listeners: profileListeners('root.pem') });
const directory = mkdtempSync(join(tmpdir(), 'wardgate-scan-'));
try {
  const rows: string[] = [];
  const faults: string[] = [];
  for (const { name, port } of running.gateway.listeners) {
    const profile = name as TlsProfile;
    process.stdout.write(`${profile}\n`);
    const findings = await testssl(profile, port);
    const suites = [...suitesOf(profile, 'TLS 1.3'), ...suitesOf(profile, 'TLS 1.2')];
    const seen = findings.filter(({ id }) => /^cipher-tls1_[23]_x/.test(id)).map(({ finding }) => openssl.get(Number.parseInt(/ x([\da-f]+) /.exec(finding)?.[1] ?? '', 16)) ?? finding);
    const scan = await sslscan(port, NAME);
    const groups = await groupsOf(profile, port);
    const judged = findings.filter(({ id }) => !ABOUT_THE_TEST.test(id));
    rows.push(`| \`${profile}\` | ${same(seen, suites)} | ${same([...scan.suites['TLS 1.3'], ...scan.suites['TLS 1.2']], suites)} | ${same(groups, namesOf(PROFILES[profile].groups))} | ${judged.length} |`);
    faults.push(...judged.filter(({ severity }) => !['OK', 'INFO', 'WARN', 'DEBUG'].includes(severity)).map(({ id, severity, finding }) => `| \`${profile}\` | ${id} | ${severity} | ${finding} |`));
  }
  const version = /testssl\s+(\d[\d.]+)/.exec(stripVTControlCharacters(await output('testssl', ['--version'])))?.[1] ?? '';
  const scanner = /^\s*(\d[\d.]+)/m.exec(stripVTControlCharacters(await output('sslscan', ['--version'])))?.[1] ?? '';
  writeFileSync(DOCUMENT, profileDocs(`On ${new Date().toISOString().slice(0, 10)}, Node ${process.version} with OpenSSL ${process.versions.openssl}, testssl ${version}, sslscan ${scanner}. The groups are probed by
ClientHellos that offer one each, of the ${ALL_GROUPS.length} numbers that the registry has or had: neither scanner knows the hybrid one.

| profile | suites by testssl | suites by sslscan | groups by ClientHello | checks by testssl |
| --- | --- | --- | --- | --- |
${rows.join('\n')}

What testssl marks lower than good, of protocols, suites and known attacks:

| profile | check | severity | finding |
| --- | --- | --- | --- |
${faults.length === 0 ? '| | | | nothing |' : faults.join('\n')}
`));
} finally {
  await running.stop();
  rmSync(directory, { recursive: true, force: true });
}
process.exit();

async function testssl(profile: TlsProfile, port: number): Promise<readonly Finding[]> {
  const file = join(directory, `${profile}.json`);
  // By name: the gateway closes on names that it does not have.
  await output('testssl', ['--quiet', '--color', '0', '--warnings', 'batch', '--ip', '127.0.0.1', '--jsonfile', file, '-p', '-E', '-U', `${NAME}:${port}`], 280_000);
  return JSON.parse(readFileSync(file, 'utf8')) as Finding[];
}

async function groupsOf(profile: TlsProfile, port: number): Promise<string[]> {
  const taken: number[] = [];
  for (const group of ALL_GROUPS) {
    const answer = await offer(port, { versions: [VERSION.tls13], suites: namesOf(PROFILES[profile].suites).map((name) => SUITES[name].id), groups: [group], serverName: NAME });
    if (answer.kind === 'chosen') taken.push(group);
  }
  return Object.entries(GROUPS).filter(([, id]) => taken.includes(id)).map(([name]) => name).concat(taken.filter((id) => !Object.values<number>(GROUPS).includes(id)).map(String));
}

function same(found: readonly string[], expected: readonly string[]): string {
  const both = [[...new Set(found)].sort(), [...expected].sort()].map((list) => list.join(' '));
  return both[0] === both[1] ? `the profile's ${expected.length}` : `**${found.join(' ')}**`;
}
