import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DEFAULT_ALGORITHMS } from '../src/pki/algorithms.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { createPool, validatePath } from '../src/pki/path.ts';
import { crlBlocks, loadCrl } from '../src/revocation/crl-load.ts';
import type { CrlSigners } from '../src/revocation/crl-load.ts';
import { newestOfEach } from '../src/revocation/crl-handle.ts';
import { crlStatement } from '../src/revocation/crl-statement.ts';
import type { CrlHandle } from '../src/revocation/crl-handle.ts';
import { certificatesToCheck, combineStatuses, decideStatus } from '../src/revocation/status.ts';
import type { Status } from '../src/revocation/status.ts';

const VECTORS = new URL('../../shared/vectors/pkits/', import.meta.url).pathname;
const NOW = Date.UTC(2025, 0, 1);

interface Case {
  readonly number: string;
  readonly name: string;
  readonly should_validate: boolean;
  readonly certs: readonly string[];
  readonly crls: readonly string[];
}

function readCertificate(name: string): Certificate | undefined {
  try {
    return parseCertificate(readFileSync(join(VECTORS, 'certs', `${name}.crt`)));
  } catch {
    // Some vectors are malformed on purpose; no path leads through them.
    return undefined;
  }
}

function load(crls: readonly string[], signers: CrlSigners): readonly CrlHandle[] {
  return newestOfEach(crls.flatMap((name) => {
    const bytes = readFileSync(join(VECTORS, 'crls', `${name}.crl`));
    return crlBlocks(bytes).flatMap((der) => {
      const outcome = loadCrl(name, der, signers);
      return outcome.kind === 'crl' ? [outcome.handle] : [];
    });
  }));
}

type Verdict = Status | { readonly kind: 'no path'; readonly detail: string };

function verdictOf({ certs }: Case, others: readonly Certificate[], handlesFor: (signers: CrlSigners) => readonly CrlHandle[]): Verdict {
  const [anchor, ...chain] = certs.map(readCertificate);
  const leaf = chain.pop();
  if (anchor === undefined || leaf === undefined) return { kind: 'no path', detail: 'malformed' };
  const known = [anchor, ...chain.filter((certificate) => certificate !== undefined), ...others];
  const pool = createPool([anchor], known.slice(1));
  const result = validatePath(leaf, pool, { now: NOW, purpose: 'any', serials: 'any' });
  if (result.kind === 'invalid') return { kind: 'no path', detail: result.detail };
  const handles = handlesFor({ known, pools: [pool], now: NOW, algorithms: DEFAULT_ALGORITHMS });
  return combineStatuses(certificatesToCheck(result.path, 'chain').map(({ certificate, issuer, anchor: top }) =>
    decideStatus([crlStatement(handles, certificate, issuer, NOW, { skew: 0, anchor: top })])));
}

const present = existsSync(VECTORS);
if (!present) console.log('skipped: the PKITS cases need ../shared/vectors/pkits');
const cases: readonly Case[] = present ? JSON.parse(readFileSync(join(VECTORS, 'expected.json'), 'utf8')) : [];
const about = (section: string): readonly Case[] => cases.filter(({ number }) => number.startsWith(`${section}.`));

describe.skipIf(!present)('PKITS, by revocation', () => {
  const sections = [['4.4', 'CRLs'], ['4.5', 'self-issued certificates'], ['4.7', 'key usage'], ['4.14', 'distribution points'], ['4.15', 'delta CRLs']] as const;
  for (const [section, title] of sections) {
    it.each(about(section).map((each) => [each.number, each.name, each] as const))(`${title}: %s %s`, (_, __, each) => {
      const verdict = verdictOf(each, [], (signers) => load(each.crls, signers));
      expect(verdict.kind === 'good', JSON.stringify(verdict)).toBe(each.should_validate);
    });
  }

  it('decides the same when every CRL and certificate of the suite is at hand at once', () => {
    const crls = readdirSync(join(VECTORS, 'crls')).map((file) => file.replace(/\.crl$/, ''));
    const certificates = readdirSync(join(VECTORS, 'certs')).flatMap((file) => readCertificate(file.replace(/\.crt$/, '')) ?? []);
    const anchor = readCertificate('TrustAnchorRootCertificate') as Certificate;
    const known = [anchor, ...certificates];
    const handles = load(crls, { known, pools: [createPool([anchor], certificates)], now: NOW, algorithms: DEFAULT_ALGORITHMS });
    const wrong = sections.flatMap(([section]) => about(section))
      .filter((each) => (verdictOf(each, certificates, () => handles).kind === 'good') !== each.should_validate);
    expect(wrong.map(({ number, name }) => `${number} ${name}`)).toEqual([]);
  });
});
