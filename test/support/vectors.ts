import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { DEFAULT_ALGORITHMS } from '../../src/pki/algorithms.ts';
import type { AlgorithmProfile } from '../../src/pki/algorithms.ts';
import { parseCertificate, PkiError } from '../../src/pki/certificate.ts';
import type { Certificate } from '../../src/pki/certificate.ts';
import { createPool, validatePath } from '../../src/pki/path.ts';
import type { PathOptions } from '../../src/pki/path.ts';
import { pemBlocks } from '../../src/pki/pem.ts';
import type { PolicyInputs } from '../../src/pki/policy-graph.ts';

const directory = fileURLToPath(new URL('../../../shared/vectors/', import.meta.url));

/** Whether the vectors, which are not part of the project, lie beside it; says so once where they do not. */
export function haveVectors(suite: 'pkits' | 'x509-limbo' | 'balp'): boolean {
  const present = existsSync(`${directory}${suite}`);
  if (!present) console.log(`skipped: ${suite} is not at ${directory}${suite}`);
  return present;
}

export type Verdict = { readonly kind: 'accepted'; readonly policies: readonly string[] } | { readonly kind: 'refused'; readonly reason: string; readonly detail: string };

/** What a case hands to whoever knows about CRLs. Undefined: nothing on the path is revoked, and that is known. */
export type RevocationCheck = (subject: {
  readonly path: readonly Certificate[];
  readonly crls: readonly Uint8Array[];
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly now: number;
  readonly algorithms: AlgorithmProfile;
}) => string | undefined;

interface Chain {
  readonly leaf: Certificate;
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly crls: readonly Uint8Array[];
}

function judge(readChain: () => Chain, options: PathOptions & { readonly algorithms: AlgorithmProfile }, check: RevocationCheck | undefined): Verdict {
  try {
    const { leaf, anchors, intermediates, crls } = readChain();
    const verdict = validatePath(leaf, createPool(anchors, intermediates), options);
    if (verdict.kind === 'invalid') return { kind: 'refused', reason: verdict.reason, detail: verdict.detail };
    const revoked = check?.({ path: verdict.path, crls, anchors, intermediates, now: options.now, algorithms: options.algorithms });
    return revoked === undefined ? { kind: 'accepted', policies: verdict.policies } : { kind: 'refused', reason: 'revocation', detail: revoked };
  } catch (error) {
    if (error instanceof PkiError) return { kind: 'refused', reason: error.code, detail: error.message };
    throw error;
  }
}

export interface PkitsCase {
  readonly number: string;
  readonly name: string;
  readonly certs: readonly string[];
  readonly crls: readonly string[];
  readonly settings: readonly (readonly [string, string])[];
  readonly should_validate: boolean;
}

export function pkitsCases(): readonly PkitsCase[] {
  return JSON.parse(readFileSync(`${directory}pkits/expected.json`, 'utf8')) as PkitsCase[];
}

export function pkitsFile(kind: 'certs' | 'crls', name: string): Uint8Array {
  return readFileSync(`${directory}pkits/${kind}/${name}.${kind === 'certs' ? 'crt' : 'crl'}`);
}

/** PKITS is about paths, not about today's algorithms: it has DSA with SHA-1, which no profile of ours allows. */
const LEGACY_ALGORITHMS: AlgorithmProfile = { ...DEFAULT_ALGORITHMS, dsa: true, hashes: new Set([...DEFAULT_ALGORITHMS.hashes, 'sha1']) };

/** Within the validity of the 2011 edition. */
export const PKITS_NOW = Date.parse('2015-06-01T00:00:00Z');

export function judgePkits(test: PkitsCase, check?: RevocationCheck): Verdict {
  const readChain = (): Chain => {
    const certificates = test.certs.map((name) => parseCertificate(pkitsFile('certs', name)));
    return {
      leaf: certificates.at(-1) as Certificate,
      anchors: certificates.slice(0, 1),
      intermediates: certificates.slice(1, -1),
      crls: test.crls.map((name) => pkitsFile('crls', name)),
    };
  };
  // Serial numbers: 4.4.14 to 4.4.19 have negative and long ones on purpose.
  return judge(readChain, { now: PKITS_NOW, purpose: 'any', serials: 'any', algorithms: LEGACY_ALGORITHMS, policies: pkitsPolicies(test) }, check);
}

function pkitsPolicies({ settings }: PkitsCase): PolicyInputs {
  const given = new Map(settings);
  const initial = given.get('SetInitialPolicySet');
  return {
    ...(initial !== undefined && { acceptable: pkitsPolicySet(initial) }),
    requireExplicit: given.get('SetInitialExplicitPolicy') === 'true',
    inhibitMapping: given.get('SetInitialPolicyMappingInhibit') === 'true',
    inhibitAny: given.get('SetInitialInhibitAnyPolicy') === 'true',
  };
}

/** The user-constrained policy set that a case expects; where it names none, NIST-test-policy-1. */
export function pkitsExpectedPolicies({ settings }: PkitsCase): readonly string[] {
  return pkitsPolicySet(new Map(settings).get('SetUserConstrainedPolicySet') ?? 'NIST-test-policy-1');
}

function pkitsPolicySet(text: string): readonly string[] {
  const names = text.replaceAll('"', '').split(',').filter((name) => name !== '');
  return names.map((name) => (name === 'anyPolicy' ? '2.5.29.32.0' : name.replace('NIST-test-policy-', '2.16.840.1.101.3.2.1.48.')));
}

export interface LimboCase {
  readonly id: string;
  readonly description: string;
  readonly features: readonly string[];
  readonly validation_kind: 'SERVER' | 'CLIENT';
  readonly trusted_certs: readonly string[];
  readonly untrusted_intermediates: readonly string[];
  readonly peer_certificate: string;
  readonly validation_time: string | null;
  readonly max_chain_depth: number | null;
  readonly expected_result: 'SUCCESS' | 'FAILURE';
  readonly crls: readonly string[];
}

export function limboCases(): readonly LimboCase[] {
  return (JSON.parse(readFileSync(`${directory}x509-limbo/limbo.json`, 'utf8')) as { testcases: LimboCase[] }).testcases;
}

/** Where a case names no time, any within its certificates' will do. */
const LIMBO_NOW = Date.parse('2026-01-01T00:00:00Z');

export function judgeLimbo(test: LimboCase, check?: RevocationCheck): Verdict {
  const readChain = (): Chain => ({
    leaf: parsePem(test.peer_certificate),
    anchors: test.trusted_certs.flatMap(readable),
    intermediates: test.untrusted_intermediates.flatMap(readable),
    crls: test.crls.map((crl) => pemBlocks(crl, 'X509 CRL')[0]?.der ?? new Uint8Array()),
  });
  const options = {
    now: limboTime(test),
    purpose: limboPurpose(test),
    algorithms: DEFAULT_ALGORITHMS,
    ...(test.max_chain_depth !== null && { maxIntermediates: test.max_chain_depth }),
  } as const;
  return judge(readChain, options, check);
}

export function limboTime({ validation_time }: LimboCase): number {
  return validation_time === null ? LIMBO_NOW : Date.parse(validation_time);
}

/** Leaves that name serverAuth and not clientAuth are validated for what they name: the rules of the path are the same. */
export function limboPurpose({ peer_certificate }: LimboCase): 'client' | 'server' {
  const [leaf] = readable(peer_certificate);
  const purposes = leaf?.extendedKeyUsage;
  return purposes?.includes('1.3.6.1.5.5.7.3.1') === true && !purposes.includes('1.3.6.1.5.5.7.3.2') ? 'server' : 'client';
}

function parsePem(text: string): Certificate {
  return parseCertificate(pemBlocks(text, 'CERTIFICATE')[0]?.der ?? new Uint8Array());
}

// What cannot be read cannot be on a path; that is how certificates that a handshake brings are treated.
function readable(text: string): Certificate[] {
  try {
    return [parsePem(text)];
  } catch {
    return [];
  }
}

/** Why a case says nothing about client certificates; undefined where it does. */
export function limboNotApplicable({ id }: LimboCase): string | undefined {
  return NOT_APPLICABLE.find(({ cases }) => cases.some((entry) => (entry.endsWith('*') ? id.startsWith(entry.slice(0, -1)) : id === entry)))?.why;
}

const HOST_NAME = 'the certificate is matched against the host name that a browser asked for; a client certificate is asked who it is, not whether it is a given host';

const NOT_APPLICABLE: readonly { readonly cases: readonly string[]; readonly why: string }[] = [
  {
    cases: [
      'webpki::cn::*', 'webpki::san::mismatch-*', 'webpki::san::public-suffix-*', 'webpki::san::wildcard-*', 'webpki::san::san-wildcard-*', 'webpki::san::no-san',
      'rfc5280::ca-as-leaf-wrong-san',
    ],
    why: HOST_NAME,
  },
  { cases: ['webpki::san::san-critical-with-nonempty-subject'], why: 'a rule of the CA/Browser Forum for public web servers; RFC 5280 section 4.2.1.6 only says SHOULD' },
  { cases: ['webpki::aki::*'], why: 'rules of the CA/Browser Forum for the key identifiers of public roots; an anchor is believed for its name and key' },
  { cases: ['webpki::eku::ee-anyeku', 'webpki::eku::ee-critical-eku', 'webpki::eku::ee-without-eku', 'webpki::eku::root-has-eku'], why: 'rules of the CA/Browser Forum for public web servers; RFC 5280 section 4.2.1.12 allows each' },
  { cases: ['webpki::forbidden-rsa-*'], why: 'a rule of the CA/Browser Forum about key sizes that are no multiple of 8; strength is what the profile asks for' },
  { cases: ['webpki::v1-cert', 'webpki::ee-basicconstraints-ca', 'webpki::ca-as-leaf'], why: 'rules of the CA/Browser Forum for leaf certificates; RFC 5280 validates them like any other' },
  { cases: ['rfc5280::eku::ee-wrong-eku'], why: 'the leaf names clientAuth where the case expects serverAuth; here clientAuth is what is expected (a test of our own turns it round)' },
];

export interface Exception {
  readonly cases: readonly string[];
  readonly why: string;
}

/** Applicable cases in which we knowingly differ from a suite; a test holds that each still does. */
export const PKITS_EXCEPTIONS: readonly Exception[] = [
  {
    cases: ['4.1.5 Section1ValidDSAParameterInheritanceTest5'],
    why: 'A DSA key that takes its parameters from its issuer. DSA is in no profile, FIPS 186-5 has withdrawn it, and no other algorithm inherits; refused rather than guessed.',
  },
];

export const LIMBO_EXCEPTIONS: readonly Exception[] = [
  {
    cases: ['rfc5280::aki::leaf-missing-aki', 'rfc5280::aki::intermediate-missing-aki', 'rfc5280::aki::cross-signed-root-missing-aki', 'rfc5280::ski::root-missing-ski', 'rfc5280::ski::intermediate-missing-ski'],
    why: 'Sections 4.2.1.1 and 4.2.1.2 oblige issuers to put key identifiers in; section 6.1 does not look at them. `openssl x509 -req` leaves them out, as do the CAs of many devices. They only order the candidates of a path.',
  },
  {
    cases: ['rfc5280::nc::permitted-dns-match-noncritical', 'rfc5280::pc::ica-noncritical-pc', 'rfc5280::root-non-critical-basic-constraints'],
    why: 'Issuers must mark these extensions critical so that readers who do not know them refuse. We know them and process them alike; PKITS 4.8.6 and others want constraints that are not critical accepted, and x509-limbo itself accepts the first under another profile.',
  },
  {
    cases: ['rfc5280::san::underscore-dns', 'rfc5280::san::ip-in-dns'],
    why: 'Names that are no host names in a dNSName. Devices are called `bp_monitor_7`; identities are compared as text and never resolved. Where a name constraint is in force on DNS names, what is not a host name is refused.',
  },
  {
    cases: ['rfc5280::ca-as-leaf', 'pathlen::validation-ignores-pathlen-in-leaf'],
    why: 'The path is valid, and is found valid for no particular purpose. As a TLS client this CA is refused: its key usage has keyCertSign and cRLSign only, and RFC 8446 section 4.4.2.2 wants digitalSignature.',
  },
  {
    cases: ['crl::crlnumber-missing', 'crl::crlnumber-critical'],
    why: 'Section 5.2.3 obliges issuers to number their CRLs. A CRL without a number (`openssl ca` makes them) or with a critical one still lists what is revoked; not using it would turn a known revocation into an unknown one.',
  },
];
