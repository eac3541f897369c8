import type { Fault, Path } from './issue.ts';
import { namesOf, PROFILES, SUITES, type SuiteName } from './profiles.ts';
import { fileOf, type Config, type TlsConfig } from './schema.ts';

/** The kinds of keys that suites of TLS 1.2 sign with; those of TLS 1.3 take every kind. */
const KEY_KINDS = [
  { mark: '_ECDSA_', types: ['ec', 'ed25519'], called: 'an EC key' },
  { mark: '_RSA_', types: ['rsa'], called: 'an RSA key' },
] as const;

/**
 * Profiles whose suites of TLS 1.2, or those that their standard names, no certificate of a listener can serve. `keyTypeOf` gives
 * the kind of key in a certificate's file.
 */
export function profileWarnings(config: Config, keyTypeOf: (certificateFile: string) => string): readonly Fault[] {
  return config.listeners.flatMap((listener, index) => (listener.protocol === 'redirect' ? [] : unserved(listener.tls, ['listeners', index, 'tls', 'profile'], keyTypeOf)));
}

function unserved({ profile, certificates }: TlsConfig, path: Path, keyTypeOf: (file: string) => string): Fault[] {
  const held = new Set(certificates.map((own) => keyTypeOf(fileOf(own))));
  const kinds = KEY_KINDS.filter(({ types }) => types.some((type) => held.has(type)));
  const suites = namesOf(PROFILES[profile].suites).filter((name) => SUITES[name].version === 'TLS 1.2');
  if (suites.length === 0) return [];
  const usable = suites.filter((name) => kinds.some(({ mark }) => name.includes(mark)));
  if (usable.length === 0) return [{ path, message: `no certificate of this listener has ${neededBy(suites)}: nobody can connect by TLS 1.2` }];
  if (profile === 'ihe-atna' && !held.has('rsa')) return [{ path, message: 'no certificate of this listener has an RSA key: none of the suites that ITI-19 names can be negotiated' }];
  return [];
}

function neededBy(suites: readonly SuiteName[]): string {
  return KEY_KINDS.filter(({ mark }) => suites.some((name) => name.includes(mark))).map(({ called }) => called).join(' or ');
}
