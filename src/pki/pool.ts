import type { AlgorithmProfile } from './algorithms.ts';
import type { Certificate } from './certificate.ts';
import { verifySignature } from './signature.ts';
import type { SignatureVerdict } from './signature.ts';

const MAX_REMEMBERED = 4096;

/**
 * Trust anchors and the CA certificates that paths may lead through, by subject. Immutable but for what it remembers of
 * signatures among its own members: a leaf's signature costs its verification, its issuers' are verified once.
 */
export class CertificatePool {
  readonly anchors: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  readonly #anchorHashes: ReadonlySet<string>;
  readonly #members: ReadonlySet<string>;
  readonly #bySubject: ReadonlyMap<string, readonly Certificate[]>;
  readonly #remembered: WeakMap<AlgorithmProfile, Map<string, SignatureVerdict>>;
  /** The pool that this one extends: what strangers add must not crowd out what it remembers. */
  readonly #base: CertificatePool | undefined;

  constructor(anchors: readonly Certificate[], intermediates: readonly Certificate[], base?: CertificatePool) {
    this.anchors = distinct(anchors);
    this.#anchorHashes = new Set(this.anchors.map(({ sha256 }) => sha256));
    this.intermediates = distinct(intermediates).filter(({ sha256 }) => !this.#anchorHashes.has(sha256));
    const all = [...this.anchors, ...this.intermediates];
    this.#members = new Set(all.map(({ sha256 }) => sha256));
    this.#bySubject = Map.groupBy(all, ({ subject }) => subject.normalized);
    this.#remembered = new WeakMap();
    this.#base = base;
  }

  isAnchor({ sha256 }: Certificate): boolean {
    return this.#anchorHashes.has(sha256);
  }

  /** Members whose subject is the issuer of `certificate`: anchors first, then in the order they were given. */
  issuersOf({ issuer }: Certificate): readonly Certificate[] {
    return this.#bySubject.get(issuer.normalized) ?? [];
  }

  /** The verdict on the signature of `child` by the key of `issuer`, if it is remembered. */
  remembered(child: Certificate, issuer: Certificate, profile: AlgorithmProfile): SignatureVerdict | undefined {
    return this.#remembered.get(profile)?.get(linkKey(child, issuer)) ?? this.#base?.remembered(child, issuer, profile);
  }

  verify(child: Certificate, issuer: Certificate, profile: AlgorithmProfile): SignatureVerdict {
    const { tbs, signatureAlgorithm: algorithm, signature } = child;
    const verdict = verifySignature({ tbs, algorithm, signature, spki: issuer.spki }, profile);
    if (this.#members.has(child.sha256)) this.#remember(linkKey(child, issuer), verdict, profile);
    return verdict;
  }

  #remember(link: string, verdict: SignatureVerdict, profile: AlgorithmProfile): void {
    const known = this.#remembered.get(profile) ?? new Map<string, SignatureVerdict>();
    if (known.size >= MAX_REMEMBERED) known.delete(known.keys().next().value as string);
    known.set(link, verdict);
    this.#remembered.set(profile, known);
  }
}

function linkKey(child: Certificate, issuer: Certificate): string {
  return `${child.sha256}:${issuer.spkiSha256}`;
}

function distinct(certificates: readonly Certificate[]): readonly Certificate[] {
  return [...new Map(certificates.map((certificate) => [certificate.sha256, certificate])).values()];
}

/** A pool of trust anchors (self-signed roots, issuing CAs or pinned leaves) and configured intermediates. */
export function createPool(anchors: readonly Certificate[], intermediates: readonly Certificate[]): CertificatePool {
  return new CertificatePool(anchors, intermediates);
}

/** The same pool with more intermediates, such as a handshake brings; they are tried after those that were there. */
export function withIntermediates(pool: CertificatePool, certificates: readonly Certificate[]): CertificatePool {
  return certificates.length === 0 ? pool : new CertificatePool(pool.anchors, [...pool.intermediates, ...certificates], pool);
}
