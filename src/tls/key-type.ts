import { GROUPS, namesOf, PROFILES, SUITES, type SignatureName } from '../config/profiles.ts';
import type { TlsProfile } from '../config/schema.ts';
import type { StatusRequest } from './client-hello.ts';

/** A certificate's key, as far as a client must be able to use it; `curve` is OpenSSL's name. */
export interface CertificateKey {
  readonly keyType: 'ec' | 'rsa' | 'ed25519' | 'other';
  readonly curve?: string;
}

/** Whether a handshake with this certificate is sure to go through, sure not to, or neither. */
type Prospect = 'sure' | 'no' | 'unsure';

const TLS13 = 0x0304;
const CURVES: Readonly<Record<string, { readonly scheme: SignatureName; readonly group: number }>> = {
  prime256v1: { scheme: 'ecdsa_secp256r1_sha256', group: GROUPS['P-256'] },
  secp384r1: { scheme: 'ecdsa_secp384r1_sha384', group: GROUPS['P-384'] },
  secp521r1: { scheme: 'ecdsa_secp521r1_sha512', group: GROUPS['P-521'] },
};
const SCHEMES: Readonly<Partial<Record<SignatureName, number>>> = {
  ecdsa_secp256r1_sha256: 0x0403, ecdsa_secp384r1_sha384: 0x0503, ecdsa_secp521r1_sha512: 0x0603, ed25519: 0x0807,
  rsa_pss_rsae_sha256: 0x0804, rsa_pss_rsae_sha384: 0x0805, rsa_pss_rsae_sha512: 0x0806,
};
/** Any that a key of the type could sign by, the old ones included. */
const FAMILIES = { ec: [0x0203, 0x0303, 0x0403, 0x0503, 0x0603], ed25519: [0x0807], rsa: [0x0201, 0x0301, 0x0401, 0x0501, 0x0601, 0x0804, 0x0805, 0x0806] } as const;
/** The order that OpenSSL prefers them in under our profiles. */
const PREFERENCE = ['ec', 'ed25519', 'rsa'] as const;

/**
 * Which of several certificates of different key types to serve a client alone, so that an OCSP answer can be shown with it: OpenSSL
 * chooses among several after the answer is asked for, and says not which. Undefined unless the handshake is sure to go through with it.
 */
export function keyTypeFor(client: StatusRequest, keys: readonly CertificateKey[], profile: TlsProfile): 'ec' | 'ed25519' | 'rsa' | undefined {
  // What the client says of signatures within chains may matter then, and is not looked at.
  if (client.signaturesOfCertificates || keys.some(({ keyType }) => keyType === 'other')) return undefined;
  for (const type of PREFERENCE) {
    const key = keys.find(({ keyType }) => keyType === type);
    if (key === undefined) continue;
    const prospect = prospectOf(client, type, key, profile);
    if (prospect !== 'no') return prospect === 'sure' ? type : undefined;
  }
  return undefined;
}

function prospectOf(client: StatusRequest, type: (typeof PREFERENCE)[number], { curve = '' }: CertificateKey, profile: TlsProfile): Prospect {
  const modern = client.versions.includes(TLS13);
  // By TLS 1.3 suites say nothing of certificates; by 1.2 each is for a kind of key, and Ed25519 goes with those of ECDSA.
  if (!modern && !suitesFor(type, profile).some((suite) => client.suites.includes(suite))) return 'no';
  if (!FAMILIES[type].some((scheme) => client.signatures.includes(scheme))) return 'no';
  const known = CURVES[curve];
  const wanted: readonly SignatureName[] = type === 'ec' ? (known === undefined ? [] : [known.scheme]) : type === 'ed25519' ? ['ed25519'] : ['rsa_pss_rsae_sha256', 'rsa_pss_rsae_sha384', 'rsa_pss_rsae_sha512'];
  const allowed = namesOf(PROFILES[profile].signatures);
  const signs = wanted.some((name) => allowed.includes(name) && client.signatures.includes(SCHEMES[name] ?? -1));
  const fits = modern || type !== 'ec' || (known !== undefined && client.groups.includes(known.group));
  return signs && fits ? 'sure' : 'unsure';
}

function suitesFor(type: (typeof PREFERENCE)[number], profile: TlsProfile): readonly number[] {
  const mark = type === 'rsa' ? '_RSA_' : '_ECDSA_';
  return namesOf(PROFILES[profile].suites).filter((name) => name.includes(mark)).map((name) => SUITES[name].id);
}
