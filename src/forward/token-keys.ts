import type { KeyObject } from 'node:crypto';
import { publicKeyOf, type TokenKey } from '../pki/jwks.ts';

/** The keys of one issuer, as the main thread knows them. */
export interface KeySet {
  /** What the configuration says of where they come from: another place, or another trust, is another source. */
  readonly source: string;
  readonly keys: readonly TokenKey[];
  /** How long they are believed, in ms since the epoch. */
  readonly until: number;
}

/** The same, ready to verify with. */
export interface ReadyKeys {
  readonly keys: readonly ReadyKey[];
  readonly until: number;
}

export interface ReadyKey extends TokenKey {
  readonly key: KeyObject;
}

/** The keys of all issuers, as one thread was told them. */
export interface KeyRegister {
  of(source: string): ReadyKeys | undefined;
  /** Takes all that there are now; true when one that was there is no longer: what it verified does not stand. */
  take(sets: readonly KeySet[]): boolean;
}

export function createKeyRegister(): KeyRegister {
  let bySource: ReadonlyMap<string, ReadyKeys> = new Map();
  return {
    of: (source) => bySource.get(source),
    take(sets) {
      const before = bySource;
      bySource = new Map(sets.map(({ source, keys, until }) => [source, { until, keys: keys.map((one) => ({ ...one, key: publicKeyOf(one) })) }]));
      return [...before].some(([source, { keys }]) => keys.some(({ sha256 }) => bySource.get(source)?.keys.some((one) => one.sha256 === sha256) !== true));
    },
  };
}
