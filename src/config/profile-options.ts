import { constants } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { namesOf, PROFILES, SUITES, type SuiteName } from './profiles.ts';
import type { TlsProfile } from './schema.ts';

/** What a profile allows, in Node's terms. */
export type ProfileOptions = Pick<SecureContextOptions, 'minVersion' | 'maxVersion' | 'ciphers' | 'ecdhCurve' | 'sigalgs' | 'honorCipherOrder' | 'dhparam'> & { readonly secureOptions: number };

/** OpenSSL counts a tag of 8 octets as 64 bits, and takes such suites at this level alone. */
const LEVEL_0 = '@SECLEVEL=0';

/** The options of a listener under a profile. */
export function serverOptions(profile: TlsProfile): ProfileOptions {
  const suites = namesOf(PROFILES[profile].suites);
  return { ...common(profile, suites.some(hasShortTag) ? [...opensslNames(suites), LEVEL_0] : opensslNames(suites)), honorCipherOrder: true, dhparam: 'auto' };
}

/**
 * The options of a connection to an upstream under a profile. OpenSSL verifies the upstream's chain at the context's security
 * level, so the level is never lowered here, and suites that would need it are left out.
 */
export function clientOptions(profile: TlsProfile): ProfileOptions {
  return common(profile, opensslNames(namesOf(PROFILES[profile].suites).filter((name) => !hasShortTag(name))));
}

function common(profile: TlsProfile, ciphers: readonly string[]): ProfileOptions {
  const { versions, groupRanks, signatures } = PROFILES[profile];
  return {
    minVersion: namesOf(versions).includes('TLS 1.2') ? 'TLSv1.2' : 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: ciphers.join(':'),
    ecdhCurve: groupRanks,
    sigalgs: namesOf(signatures).join(':'),
    // RFC 9325 sections 3.3 and 3.5: no compression, no renegotiation.
    secureOptions: constants.SSL_OP_NO_COMPRESSION | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

function opensslNames(suites: readonly SuiteName[]): readonly string[] {
  return suites.map((name) => SUITES[name].openssl);
}

function hasShortTag(name: SuiteName): boolean {
  return name.includes('_CCM_8');
}
