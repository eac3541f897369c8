import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pem } from '../src/ca/der.ts';
import { conformanceTables } from '../test/support/conformance.ts';
import { limboPurpose, limboTime, pkitsFile, PKITS_NOW } from '../test/support/vectors.ts';
import type { LimboCase, PkitsCase } from '../test/support/vectors.ts';

// Writes the tables of docs/conformance.md anew: `node scripts/conformance.ts`. Needs the vectors and an `openssl` to compare with.

const DOCUMENT = new URL('../docs/conformance.md', import.meta.url);
const directory = mkdtempSync(join(tmpdir(), 'wardgate-conformance-'));

function file(name: string, content: string): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

function verify(options: readonly string[], leaf: string, chain: { anchors: string; intermediates: string; crls: string }, now: number): string {
  const crls = chain.crls === '' ? [] : ['-crl_check_all', '-extended_crl', '-use_deltas', '-CRLfile', file('crls.pem', chain.crls)];
  const untrusted = chain.intermediates === '' ? [] : ['-untrusted', file('untrusted.pem', chain.intermediates)];
  const { status, error } = spawnSync('openssl', [
    'verify', '-attime', String(Math.floor(now / 1000)), '-trusted', file('trusted.pem', chain.anchors), ...untrusted, ...crls, ...options, file('leaf.pem', leaf),
  ]);
  if (error !== undefined) throw error;
  return status === 0 ? 'accepts' : 'refuses';
}

function opensslPkits(test: PkitsCase): string {
  const certificates = test.certs.map((name) => pem('CERTIFICATE', pkitsFile('certs', name)));
  const crls = test.crls.map((name) => pem('X509 CRL', pkitsFile('crls', name))).join('');
  const flags = test.settings.flatMap(([setting, value]) => {
    if (setting === 'SetInitialPolicySet') return value.replaceAll('"', '').split(',').flatMap((name) => ['-policy', name.replace('NIST-test-policy-', '2.16.840.1.101.3.2.1.48.')]);
    if (setting === 'SetInitialExplicitPolicy') return ['-explicit_policy'];
    if (setting === 'SetInitialPolicyMappingInhibit') return ['-inhibit_map'];
    return setting === 'SetInitialInhibitAnyPolicy' ? ['-inhibit_any'] : [];
  });
  // Without a policy OpenSSL takes none to be acceptable, where RFC 5280 takes any.
  if (!flags.includes('-policy')) flags.push('-policy', 'anyPolicy');
  const chain = { anchors: certificates[0] ?? '', intermediates: certificates.slice(1, -1).join(''), crls };
  return verify(['-policy_check', ...flags], certificates.at(-1) ?? '', chain, PKITS_NOW);
}

function opensslLimbo(test: LimboCase): string {
  const depth = test.max_chain_depth === null ? [] : ['-verify_depth', String(test.max_chain_depth)];
  const chain = { anchors: test.trusted_certs.join(''), intermediates: test.untrusted_intermediates.join(''), crls: test.crls.join('') };
  return verify(['-partial_chain', '-purpose', limboPurpose(test) === 'server' ? 'sslserver' : 'sslclient', ...depth], test.peer_certificate, chain, limboTime(test));
}

try {
  const version = execFileSync('openssl', ['version'], { encoding: 'utf8' }).split(' ').slice(0, 2).join(' ');
  const tables = conformanceTables({ version, pkits: opensslPkits, limbo: opensslLimbo });
  const document = readFileSync(DOCUMENT, 'utf8');
  writeFileSync(DOCUMENT, Object.entries(tables).reduce((text, [name, table]) => {
    const [begin, end] = [`<!-- ${name} -->\n`, `<!-- /${name} -->\n`];
    return text.slice(0, text.indexOf(begin) + begin.length) + table + text.slice(text.indexOf(end));
  }, document));
} finally {
  rmSync(directory, { recursive: true });
}
