import type { CertificateMatch } from '../config/schema.ts';
import { publicKeyKind } from '../pki/algorithms.ts';
import { authoritiesOf, isVouchedBy, type Authorities, type Bindings } from './authorities.ts';
import { leafOf, listed, type Condition, type Shown } from './condition.ts';
import { issuerCondition, subjectCondition } from './names.ts';
import { sanConditions } from './san.ts';

/** Makes the `match` of a rule ready: one condition, met when each of its parts is. */
export function compileMatch(match: CertificateMatch, { domains, files }: Bindings): Condition {
  const { subject, issuer, trust, san, policy, eku, key } = match;
  const parts: Condition[] = [
    ...(subject === undefined ? [] : [subjectCondition(subject)]),
    ...(issuer === undefined ? [] : [issuerCondition(issuer)]),
    ...(trust === undefined ? [] : [trustCondition(authoritiesOf(trust, files))]),
    ...(san === undefined ? [] : sanConditions(san, domains)),
    ...(policy === undefined ? [] : [(shown: Shown) => noneOf('policy', policy, shown.policies)]),
    ...(eku === undefined ? [] : [(shown: Shown) => noneOf('eku', eku, leafOf(shown).extendedKeyUsage ?? [])]),
    ...(key === undefined ? [] : [keyCondition(key)]),
  ];
  return (shown) => {
    for (const part of parts) {
      const miss = part(shown);
      if (miss !== undefined) return miss;
    }
    return undefined;
  };
}

function trustCondition(authorities: Authorities): Condition {
  return ({ path }) => (isVouchedBy(path, authorities) ? undefined : 'trust: none of these CAs is on the path');
}

function noneOf(what: string, wanted: readonly string[], held: readonly string[]): string | undefined {
  return wanted.some((oid) => held.includes(oid)) ? undefined : `${what} is ${listed(held)}`;
}

/** `ec-p256`, `ed25519`, …; of RSA the largest key that is wanted at least: `rsa-3072` is met by a key of 4096 bits too. */
function keyCondition(wanted: readonly string[]): Condition {
  return (shown) => {
    const { name, rsaBits } = keyOf(leafOf(shown).spki);
    const fits = wanted.some((one) => (one.startsWith('rsa-') ? rsaBits >= Number(one.slice('rsa-'.length)) : one === name));
    return fits ? undefined : `key is ${name}`;
  };
}

/** A key as the configuration names it; `rsaBits` is 0 of any but RSA. */
function keyOf(spki: Uint8Array): { readonly name: string; readonly rsaBits: number } {
  const key = publicKeyKind(spki);
  switch (key.family) {
    case 'rsa':
    case 'rsa-pss': return { name: `rsa-${key.bits}`, rsaBits: key.bits };
    case 'ec': return { name: key.curve === 'SM2' ? 'sm2' : `ec-${key.curve.replace('-', '').toLowerCase()}`, rsaBits: 0 };
    case 'ed25519':
    case 'ed448':
    case 'dsa': return { name: key.family, rsaBits: 0 };
    case 'other': return { name: key.oid, rsaBits: 0 };
  }
}
