import { LRUCache } from 'lru-cache';
import type { RevocationConfig } from '../config/schema.ts';
import type { Certificate } from '../pki/certificate.ts';
import { releaseReplaced } from './crl-release.ts';
import type { CrlHandle } from './crl-handle.ts';
import { crlStatement } from './crl-statement.ts';
import type { FetchedIssuers } from './issuer-fetch.ts';
import type { RevocationSource, Statement } from './status.ts';

/** How long the main thread may take over the issuers at a URL as a whole. Said here: what fetches them is not for data-plane threads to load. */
export const ISSUER_FETCH_MS = 3_000;

/** What one thread knows of revocation: CRLs in shared memory, and the OCSP answers it has been given. */
export interface RevocationDesk {
  /** The CRLs in force from now on. The epoch moves after every thread has them. */
  replaceCrls(handles: readonly CrlHandle[]): void;
  /** An answer that takes the place of what this thread may hold of the same certificate. */
  learn(question: OcspKey, statement: Statement): void;
  /** What admission asks, under one snapshot's configuration. */
  view(config: RevocationConfig): RevocationView;
}

export interface RevocationView {
  /** `anchor` is that of the path: a separate CRL issuer counts below the same anchor only. */
  crlStatement(certificate: Certificate, issuer: Certificate, anchor: Certificate, now: number): Statement;
  /** Whether waiting for a CRL may help about a certificate whose CRL is not at hand. */
  crlMayCome(certificate: Certificate, issuer: Certificate, now: number): boolean;
  /** Waits for the CRL that a validated certificate needs, `crl.timeout` at most. Never rejects. */
  fetchCrl(certificate: Certificate, issuer: Certificate): Promise<void>;
  /** The answer at hand; undefined when the responder has to be asked. */
  ocspStatement(certificate: Certificate, issuer: Certificate, now: number): Statement | undefined;
  askOcsp(certificate: Certificate, issuer: Certificate): Promise<Statement>;
  /** The certificates at a URL that names a missing issuer, on a host that the operator lists. Never rejects. */
  fetchIssuers(url: string): Promise<FetchedIssuers>;
}

export interface DeskOptions {
  /** Asks the main thread, which asks the responder: one question at a time for a certificate, whatever the thread. */
  readonly ask: (certificate: Uint8Array, issuer: Uint8Array) => Promise<Statement>;
  /** Has the main thread fetch the CRL that a certificate names. When it resolves this thread has been given what came. */
  readonly fetchCrl: (certificate: Uint8Array, issuer: Uint8Array) => Promise<void>;
  /** Has the main thread fetch the certificates at a URL. */
  readonly fetchIssuers: (url: string) => Promise<FetchedIssuers>;
  readonly now: () => number;
  readonly checked: (source: RevocationSource, result: Statement['kind']) => void;
}

/** What an OCSP answer is about. */
export interface OcspKey {
  /** SHA-256 of the certificate, hex. */
  readonly certificate: string;
  /** SHA-256 of its issuer's SubjectPublicKeyInfo, hex: a renewed CA with the same name may answer differently. */
  readonly issuerKey: string;
}

const ANSWERS = 20_000;
/** A source that had no answer is not asked again about the same certificate before this. */
const NEGATIVE_MS = 5_000;

export function createRevocationView(options: DeskOptions): RevocationDesk {
  // By weight, each of one: by number it would take the room for all of them at once.
  const answers = new LRUCache<string, Statement>({ maxSize: ANSWERS, sizeCalculation: () => 1 });
  /** Until when nobody waits for a CRL again. */
  const inVain = new LRUCache<string, number>({ maxSize: ANSWERS, sizeCalculation: () => 1 });
  const fetching = new Map<string, Promise<void>>();
  const asking = new Map<string, Promise<Statement>>();
  const fetchingIssuers = new Map<string, Promise<FetchedIssuers>>();
  let handles: readonly CrlHandle[] = [];

  async function fetchCrl(certificate: Certificate, issuer: Certificate): Promise<void> {
    await options.fetchCrl(certificate.der, issuer.der).catch(() => undefined);
    inVain.set(keyOf(certificate, issuer), options.now() + NEGATIVE_MS);
  }

  async function askOcsp(certificate: Certificate, issuer: Certificate): Promise<Statement> {
    const statement = await options.ask(certificate.der, issuer.der).catch((error: Error): Statement => ({
      kind: 'unavailable', source: 'ocsp', reason: 'ocsp_unavailable', detail: error.message, at: options.now(),
    }));
    answers.set(keyOf(certificate, issuer), statement);
    return statement;
  }

  return {
    replaceCrls(next) {
      releaseReplaced(handles, next);
      handles = next;
    },
    learn: (question, statement) => void answers.set(textOf(question), statement),
    view: (config) => ({
      crlStatement(certificate, issuer, anchor, now) {
        const statement = crlStatement(handles, certificate, issuer, now, {
          skew: config.skew, anchor, check: config.check === 'leaf' ? 'leaf' : 'chain',
        });
        options.checked('crl', statement.kind);
        return statement;
      },
      crlMayCome(certificate, issuer, now) {
        const named = config.crl.from_certificate && (certificate.crlDistributionPoints.length > 0 || certificate.freshestCrl.length > 0);
        return (named || config.crl.urls.length > 0) && now >= (inVain.get(keyOf(certificate, issuer)) ?? 0);
      },
      fetchCrl: (certificate, issuer) => once(fetching, keyOf(certificate, issuer), () => fetchCrl(certificate, issuer)),
      ocspStatement(certificate, issuer, now) {
        const statement = answers.get(keyOf(certificate, issuer));
        if (statement === undefined || now >= expiry(statement)) return undefined;
        options.checked('ocsp', statement.kind);
        return statement;
      },
      async askOcsp(certificate, issuer) {
        const statement = await once(asking, keyOf(certificate, issuer), () => askOcsp(certificate, issuer));
        options.checked('ocsp', statement.kind);
        return statement;
      },
      fetchIssuers: (url) => once(fetchingIssuers, url, () => options.fetchIssuers(url).catch((error: Error) => ({ kind: 'failed', detail: error.message }))),
    }),
  };
}

/** A thousand connections of one certificate ask once. */
function once<Answer>(running: Map<string, Promise<Answer>>, key: string, begin: () => Promise<Answer>): Promise<Answer> {
  const known = running.get(key);
  if (known !== undefined) return known;
  const begun = begin().finally(() => running.delete(key));
  running.set(key, begun);
  return begun;
}

function keyOf(certificate: Certificate, issuer: Certificate): string {
  return textOf({ certificate: certificate.sha256, issuerKey: issuer.spkiSha256 });
}

function textOf({ certificate, issuerKey }: OcspKey): string {
  return `${certificate} ${issuerKey}`;
}

function expiry(statement: Statement): number {
  if (statement.kind === 'good') return statement.validUntil;
  // A hold may be lifted; everything else is final, but a responder may have been wrong.
  const soon = statement.at + NEGATIVE_MS;
  return statement.kind === 'revoked' ? Math.max(soon, statement.validUntil ?? 0) : soon;
}
