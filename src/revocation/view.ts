import { LRUCache } from 'lru-cache';
import type { RevocationConfig } from '../config/schema.ts';
import type { Certificate } from '../pki/certificate.ts';
import { crlStatement, type CrlHandle } from './crl-statement.ts';
import type { RevocationSource, Statement } from './status.ts';

/** What one thread knows of revocation: CRLs in shared memory, and the OCSP answers it has been given. */
export interface RevocationDesk {
  /** The CRLs in force from now on. The epoch moves after every thread has them. */
  replaceCrls(handles: readonly CrlHandle[]): void;
  /** What admission asks, under one snapshot's configuration. */
  view(config: RevocationConfig): RevocationView;
}

export interface RevocationView {
  /** `anchor` is that of the path: a separate CRL issuer counts below the same anchor only. */
  crlStatement(certificate: Certificate, issuer: Certificate, anchor: Certificate, now: number): Statement;
  /** The answer at hand; undefined when the responder has to be asked. */
  ocspStatement(certificate: Certificate, issuer: Certificate, now: number): Statement | undefined;
  askOcsp(certificate: Certificate, issuer: Certificate): Promise<Statement>;
}

export interface DeskOptions {
  /** Asks the main thread, which asks the responder: one question at a time for a certificate, whatever the thread. */
  readonly ask: (certificate: Uint8Array, issuer: Uint8Array) => Promise<Statement>;
  readonly now: () => number;
  readonly checked: (source: RevocationSource, result: Statement['kind']) => void;
}

const ANSWERS = 20_000;
/** A responder that did not answer is not asked again for the same certificate before this. */
const NEGATIVE_MS = 5_000;

export function createRevocationView(options: DeskOptions): RevocationDesk {
  const answers = new LRUCache<string, Statement>({ max: ANSWERS });
  let handles: readonly CrlHandle[] = [];
  return {
    replaceCrls(next) {
      handles = next;
    },
    view: (config) => ({
      crlStatement(certificate, issuer, anchor, now) {
        const statement = crlStatement(handles, certificate, issuer, now, {
          skew: config.skew, anchor, check: config.check === 'leaf' ? 'leaf' : 'chain',
        });
        options.checked('crl', statement.kind);
        return statement;
      },
      ocspStatement(certificate, issuer, now) {
        const statement = answers.get(questionKey(certificate, issuer));
        if (statement === undefined || now >= expiry(statement)) return undefined;
        return statement;
      },
      async askOcsp(certificate, issuer) {
        const statement = await options.ask(certificate.der, issuer.der).catch((error: Error): Statement => ({
          kind: 'unavailable', source: 'ocsp', reason: 'ocsp_unavailable', detail: error.message, at: options.now(),
        }));
        options.checked('ocsp', statement.kind);
        answers.set(questionKey(certificate, issuer), statement);
        return statement;
      },
    }),
  };
}

// The issuer's key belongs to the question: a renewed CA with the same name may answer differently.
function questionKey(certificate: Certificate, issuer: Certificate): string {
  return `${certificate.sha256} ${issuer.spkiSha256}`;
}

function expiry(statement: Statement): number {
  if (statement.kind === 'good') return statement.validUntil;
  if (statement.kind === 'unavailable') return statement.at + NEGATIVE_MS;
  // A hold may be lifted; everything else is final, but a responder may have been wrong.
  return statement.nextUpdate ?? statement.at + NEGATIVE_MS;
}
