import type { TlsProfile } from './schema.ts';

/** A cipher suite: its registered name, OpenSSL's, and its number in a ClientHello. */
export interface Suite {
  readonly openssl: string;
  readonly id: number;
  readonly version: Version;
}

export type Version = 'TLS 1.2' | 'TLS 1.3';

/** What a profile allows of one kind, why, and by which text. `names` are in the order of our preference. */
export interface Clause<Name extends string = string> {
  readonly names: readonly Name[];
  readonly why: string;
  readonly source: string;
}

/** A profile as data: all of what is allowed, and nothing else is. */
export interface ProfileText {
  readonly standard: string;
  readonly summary: string;
  readonly versions: readonly Clause<Version>[];
  readonly suites: readonly Clause<SuiteName>[];
  readonly groups: readonly Clause<GroupName>[];
  /** OpenSSL's form of the groups: `/` parts ranks, `:` what is of one rank, `*` is what we send a share of as a client. */
  readonly groupRanks: string;
  readonly signatures: readonly Clause<SignatureName>[];
  /** Where it falls short of a text that it names, or goes beyond it. */
  readonly departures: readonly { readonly what: string; readonly source: string }[];
}

/** Every suite that some profile allows. */
export const SUITES = {
  TLS_AES_256_GCM_SHA384: { openssl: 'TLS_AES_256_GCM_SHA384', id: 0x1302, version: 'TLS 1.3' },
  TLS_CHACHA20_POLY1305_SHA256: { openssl: 'TLS_CHACHA20_POLY1305_SHA256', id: 0x1303, version: 'TLS 1.3' },
  TLS_AES_128_GCM_SHA256: { openssl: 'TLS_AES_128_GCM_SHA256', id: 0x1301, version: 'TLS 1.3' },
  TLS_AES_128_CCM_SHA256: { openssl: 'TLS_AES_128_CCM_SHA256', id: 0x1304, version: 'TLS 1.3' },
  TLS_AES_128_CCM_8_SHA256: { openssl: 'TLS_AES_128_CCM_8_SHA256', id: 0x1305, version: 'TLS 1.3' },
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: { openssl: 'ECDHE-ECDSA-AES256-GCM-SHA384', id: 0xc02c, version: 'TLS 1.2' },
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: { openssl: 'ECDHE-RSA-AES256-GCM-SHA384', id: 0xc030, version: 'TLS 1.2' },
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: { openssl: 'ECDHE-ECDSA-CHACHA20-POLY1305', id: 0xcca9, version: 'TLS 1.2' },
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: { openssl: 'ECDHE-RSA-CHACHA20-POLY1305', id: 0xcca8, version: 'TLS 1.2' },
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: { openssl: 'ECDHE-ECDSA-AES128-GCM-SHA256', id: 0xc02b, version: 'TLS 1.2' },
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: { openssl: 'ECDHE-RSA-AES128-GCM-SHA256', id: 0xc02f, version: 'TLS 1.2' },
  TLS_ECDHE_ECDSA_WITH_AES_256_CCM: { openssl: 'ECDHE-ECDSA-AES256-CCM', id: 0xc0ad, version: 'TLS 1.2' },
  TLS_ECDHE_ECDSA_WITH_AES_128_CCM: { openssl: 'ECDHE-ECDSA-AES128-CCM', id: 0xc0ac, version: 'TLS 1.2' },
  TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8: { openssl: 'ECDHE-ECDSA-AES256-CCM8', id: 0xc0af, version: 'TLS 1.2' },
  TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8: { openssl: 'ECDHE-ECDSA-AES128-CCM8', id: 0xc0ae, version: 'TLS 1.2' },
  TLS_DHE_RSA_WITH_AES_256_GCM_SHA384: { openssl: 'DHE-RSA-AES256-GCM-SHA384', id: 0x009f, version: 'TLS 1.2' },
  TLS_DHE_RSA_WITH_AES_128_GCM_SHA256: { openssl: 'DHE-RSA-AES128-GCM-SHA256', id: 0x009e, version: 'TLS 1.2' },
} as const satisfies Record<string, Suite>;

export type SuiteName = keyof typeof SUITES;

/** Every group that some profile allows, by OpenSSL's name, with its number in a ClientHello. */
export const GROUPS = { X25519MLKEM768: 0x11ec, X25519: 0x001d, 'P-256': 0x0017, 'P-384': 0x0018, 'P-521': 0x0019 } as const;

export type GroupName = keyof typeof GROUPS;

export type SignatureName =
  | 'ed25519' | 'ecdsa_secp256r1_sha256' | 'ecdsa_secp384r1_sha384' | 'ecdsa_secp521r1_sha512'
  | `rsa_pss_${'rsae' | 'pss'}_sha${256 | 384 | 512}` | `rsa_pkcs1_sha${256 | 384 | 512}`;

const BOTH_VERSIONS: Clause<Version> = {
  names: ['TLS 1.3', 'TLS 1.2'], why: '1.2 must be supported, 1.3 should be and is preferred; 1.1 and older must not be negotiated', source: 'RFC 9325 section 3.1.1; RFC 8996',
};
const STRONG_13: Clause<SuiteName> = {
  names: ['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'], why: 'the two of TLS 1.3 with keys of 256 bits; ChaCha20 is for clients without AES in hardware', source: 'RFC 8446 section 9.1 (should)',
};
const MANDATORY_13: Clause<SuiteName> = { names: ['TLS_AES_128_GCM_SHA256'], why: 'what every implementation of TLS 1.3 has', source: 'RFC 8446 section 9.1 (must)' };
const GCM_256: Clause<SuiteName> = {
  names: ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', 'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384'], why: 'recommended: forward secrecy, authenticated encryption, and the stronger of its kind first', source: 'RFC 9325 sections 4.2 and 4.2.1',
};
const GCM_128: Clause<SuiteName> = {
  names: ['TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256', 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'], why: 'recommended, and what clients should propose first', source: 'RFC 9325 sections 4.2 and 4.2.1',
};
const HYBRID: Clause<GroupName> = {
  names: ['X25519MLKEM768'], why: 'hybrid: what is recorded today stays secret as long as either X25519 or ML-KEM-768 holds, also against a quantum computer. Asked for of any client that knows it, even if it costs another round trip; TLS 1.3 only', source: 'RFC 10024 (draft-ietf-tls-ecdhe-mlkem); FIPS 203',
};
const CURVES: Clause<GroupName> = { names: ['X25519', 'P-256'], why: 'clients and servers should support both', source: 'RFC 9325 section 4.2.1' };
const P384: Clause<GroupName> = { names: ['P-384'], why: 'for clients held to 192 bits of security', source: 'RFC 8422 section 5.1.1' };
const HYBRID_FIRST = '*X25519MLKEM768/*X25519:P-256:P-384';
const SIGNATURES: Clause<SignatureName> = {
  names: [
    'ed25519', 'ecdsa_secp256r1_sha256', 'ecdsa_secp384r1_sha384', 'ecdsa_secp521r1_sha512',
    'rsa_pss_rsae_sha256', 'rsa_pss_rsae_sha384', 'rsa_pss_rsae_sha512', 'rsa_pss_pss_sha256', 'rsa_pss_pss_sha384',
    'rsa_pss_pss_sha512', 'rsa_pkcs1_sha256', 'rsa_pkcs1_sha384', 'rsa_pkcs1_sha512',
  ],
  why: 'SHA-256 and stronger; MD5 and SHA-1 must not be used', source: 'RFC 9155; RFC 9325 section 4.5',
};

/** The profiles that `tls.profile` names. */
export const PROFILES: Readonly<Record<TlsProfile, ProfileText>> = {
  bcp195: {
    standard: 'BCP 195 (RFC 8996, RFC 9325)',
    summary: 'The default: BCP 195, narrowed to four suites with keys of 256 bits.',
    versions: [BOTH_VERSIONS],
    suites: [STRONG_13, GCM_256],
    groups: [HYBRID, CURVES, P384],
    groupRanks: HYBRID_FIRST,
    signatures: [SIGNATURES],
    departures: [
      { what: 'suites with AES-128 are recommended, and one is mandatory to implement in TLS 1.3; both are left to profiles that are chosen', source: 'RFC 9325 section 4.2; RFC 8446 section 9.1' },
      { what: 'the hybrid group is beyond the text, which is older', source: 'RFC 9325 section 4.2.1' },
    ],
  },
  modern: {
    standard: 'TLS 1.3 (RFC 8446)',
    summary: 'TLS 1.3 only, for clients that are all known to have it.',
    versions: [{ names: ['TLS 1.3'], why: 'no part of the handshake that matters is in the clear, and nothing weaker can be negotiated', source: 'RFC 8446; RFC 9852 asks it of new protocols' }],
    suites: [STRONG_13],
    groups: [HYBRID, CURVES, P384],
    groupRanks: HYBRID_FIRST,
    signatures: [{ ...SIGNATURES, why: `${SIGNATURES.why}; those of PKCS#1 are for certificates alone`, source: 'RFC 8446 section 4.2.3' }],
    departures: [
      { what: 'TLS_AES_128_GCM_SHA256 is mandatory to implement; it is not offered here', source: 'RFC 8446 section 9.1' },
      { what: 'TLS 1.2 must be supported under BCP 195, so this profile does not conform to it', source: 'RFC 9325 section 3.1.1' },
    ],
  },
  'ihe-atna': {
    standard: 'IHE ITI TF-2 3.19 (ITI-19), option "STX: TLS 1.2 floor using BCP195"',
    summary: 'IHE ATNA, Authenticate Node, with the suites that its option names.',
    versions: [{ names: ['TLS 1.3', 'TLS 1.2'], why: '1.2 is the floor; what is newer is preferred', source: 'ITI TF-2 3.19.6.2.3; RFC 9325 section 3.1.1' }],
    suites: [
      STRONG_13, MANDATORY_13,
      { names: ['TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384', 'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256'], why: 'for nodes with EC certificates; the named suites are a floor that excludes nothing stronger', source: 'ITI TF-2 3.19.6.2; RFC 9325 section 4.2' },
      { names: ['TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384', 'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256'], why: 'named by the option', source: 'ITI TF-2 3.19.6.2.3' },
      { names: ['TLS_DHE_RSA_WITH_AES_256_GCM_SHA384', 'TLS_DHE_RSA_WITH_AES_128_GCM_SHA256'], why: 'named by the option, and last: groups of 2048 bits or more, by the size of the certificate\'s key', source: 'ITI TF-2 3.19.6.2.3; RFC 9325 section 4.5' },
    ],
    groups: [HYBRID, CURVES, P384],
    groupRanks: HYBRID_FIRST,
    signatures: [SIGNATURES],
    departures: [
      { what: 'the option stands on BCP 195 of 2015 (RFC 7525), which recommended DHE; the one of 2022 says that DHE should not be negotiated. Both cannot be met: DHE is offered, after everything else', source: 'RFC 7525 section 4.2; RFC 9325 section 4.1' },
      { what: 'its four suites need an RSA certificate; with an EC certificate alone none of them can be negotiated', source: 'ITI TF-2 3.19.6.2.3' },
    ],
  },
  dicom: {
    standard: 'DICOM PS3.15 B.12 and B.13 (BCP 195 and modified BCP 195, RFC 8996 and 9325)',
    summary: 'Secure transport for DICOM: the suites that a server of B.13 shall support, under the versions of B.12.',
    versions: [{ names: ['TLS 1.3', 'TLS 1.2'], why: '1.2 shall be supported, 1.3 may be and shall be preferred where it is offered', source: 'PS3.15 B.12' }],
    suites: [
      { names: [...STRONG_13.names, ...MANDATORY_13.names, 'TLS_AES_128_CCM_SHA256'], why: 'servers shall support all of them', source: 'PS3.15 B.13' },
      { names: ['TLS_AES_128_CCM_8_SHA256'], why: 'the same, and the last of TLS 1.3: its tag has 8 octets', source: 'PS3.15 B.13; RFC 9325 section 4.4' },
      { names: [...GCM_256.names, 'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256', 'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256', ...GCM_128.names, 'TLS_ECDHE_ECDSA_WITH_AES_256_CCM', 'TLS_ECDHE_ECDSA_WITH_AES_128_CCM'], why: 'of its list for TLS 1.2; the first two and AES-128-GCM are what B.12 recommends', source: 'PS3.15 B.13; RFC 9325 section 4.2' },
      { names: ['TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8', 'TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8'], why: 'of its list, and last: their tag has 8 octets', source: 'PS3.15 B.13; RFC 9325 section 4.4' },
    ],
    groups: [HYBRID, { names: ['P-256', 'X25519'], why: 'keys of 256 bits, which is the least for ECDHE', source: 'PS3.15 B.13; RFC 9325 section 4.2.1' }, { names: ['P-384', 'P-521'], why: 'more than the least', source: 'PS3.15 B.13' }],
    groupRanks: '*X25519MLKEM768/*P-256:*X25519:P-384:P-521',
    signatures: [{ ...SIGNATURES, source: 'PS3.15 B.13; RFC 9155' }],
    departures: [
      { what: '1.2 shall be supported: a listener that speaks 1.3 only (modern) is not B.12', source: 'PS3.15 B.12' },
      { what: 'a tag of 8 octets is guessed once in 2^64 tries, and a TLS connection ends with the first that fails. OpenSSL counts it as 64 bits and takes these suites at security level 0 alone, so the listener runs at it; versions, suites, groups and signatures are this list all the same, and the gateway\'s own floor for keys and hashes of certificates stands. As a client the gateway leaves them out: one suite of the list is enough for it', source: 'PS3.15 B.13; RFC 9325 sections 4.1 and 4.4' },
      { what: 'DHE and Camellia, which B.13 knows, are not offered: DHE should not be negotiated, and OpenSSL has no Camellia-GCM', source: 'PS3.15 B.13; RFC 9325 section 4.1' },
      { what: 'the hybrid group joins ECDHE on X25519 with ML-KEM; PS3.15 does not know the second', source: 'PS3.15 B.13' },
      { what: 'X25519 has keys of 256 bits over a field of 255; BCP 195 wants it, and B.13 wants BCP 195', source: 'PS3.15 B.13; RFC 9325 section 4.2.1' },
    ],
  },
  device: {
    standard: 'RFC 9325 and RFC 7925 (TLS for constrained devices)',
    summary: 'For devices with little power: AES-128 and ChaCha20, EC certificates, small key shares.',
    versions: [BOTH_VERSIONS],
    suites: [
      { names: ['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256'], why: 'AES-128 takes ten rounds for fourteen; ChaCha20 is cheap without AES in hardware', source: 'RFC 8446 section 9.1' },
      { names: ['TLS_AES_128_CCM_SHA256'], why: 'for hardware that has AES-CCM and no GCM', source: 'RFC 9325 section 4.2; RFC 8446 appendix B.4' },
      { names: ['TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256', 'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256'], why: 'the same for TLS 1.2, by EC certificates alone: keys and signatures of P-256 are a quarter of the size of those of RSA', source: 'RFC 9325 section 4.2; RFC 7905' },
      { names: ['TLS_ECDHE_ECDSA_WITH_AES_128_CCM'], why: 'for hardware that has AES-CCM and no GCM', source: 'RFC 9325 section 4.2; RFC 7251' },
    ],
    groups: [{ names: ['P-256', 'X25519'], why: 'the first must be, the second should be supported by devices. Of one rank: whichever the device has sent a key share of is taken, and none has to begin again', source: 'RFC 7925 section 4.4; RFC 9325 section 4.2.1' }],
    groupRanks: '*P-256:X25519',
    signatures: [{
      names: ['ecdsa_secp256r1_sha256', 'ed25519', 'ecdsa_secp384r1_sha384', 'rsa_pss_rsae_sha256', 'rsa_pkcs1_sha256'],
      why: 'P-256 first; RSA for devices whose certificates have it', source: 'RFC 7925 section 4.4; RFC 9155',
    }],
    departures: [
      { what: 'TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, mandatory for devices with certificates, is not offered for its tag of 8 octets; the same suite with 16 is', source: 'RFC 7925 section 4.4' },
      { what: 'no hybrid key exchange: its key shares take 2.3 KB of a handshake. Where what a device sends must stay secret for decades, bcp195 or modern is right', source: 'RFC 10024 (draft-ietf-tls-ecdhe-mlkem)' },
      { what: 'a session ticket holds the client\'s certificate, so its size is the certificate\'s: a small one keeps it small. Node has no setting for less', source: 'RFC 5077 section 4' },
    ],
  },
};

/** The names of clauses, one after the other. */
export function namesOf<Name extends string>(clauses: readonly Clause<Name>[]): readonly Name[] {
  return clauses.flatMap(({ names }) => names);
}
