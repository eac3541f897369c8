import type { Certificate } from '../pki/certificate.ts';
import { nextSource, type certificatesToCheck, type RevocationSource, type Statement } from '../revocation/status.ts';
import type { RevocationView } from '../revocation/view.ts';

/** A certificate of a path whose status is asked for, with its issuer and the path's anchor. */
export type Question = ReturnType<typeof certificatesToCheck<Certificate>>[number];

/** By question, what the sources say of it. */
export type Statements = readonly (readonly Statement[])[];

interface Ground {
  /** Asked in this order, until one is conclusive. */
  readonly sources: readonly RevocationSource[];
  readonly revocation: RevocationView;
  readonly now: () => number;
}

/** What has been waited for, by the certificate's SHA-256. */
interface Asked {
  readonly ocsp: Map<string, Statement>;
  readonly fetched: Set<string>;
}

/** What the sources say of the certificates of a path. A promise only where one has to be asked: each once about each certificate. */
export function gatherStatements(questions: readonly Question[], ground: Ground): Statements | Promise<Statements> {
  return settle(questions, ground, { ocsp: new Map(), fetched: new Set() });
}

function settle(questions: readonly Question[], ground: Ground, asked: Asked): Statements | Promise<Statements> {
  const { statements, missing } = collect(questions, ground, asked);
  if (missing.length === 0) return statements;
  const waits = missing.map(async ({ certificate, issuer, source }) => {
    if (source === 'ocsp') asked.ocsp.set(certificate.sha256, await ground.revocation.askOcsp(certificate, issuer));
    else await ground.revocation.fetchCrl(certificate, issuer);
    if (source === 'crl') asked.fetched.add(certificate.sha256);
  });
  return Promise.all(waits).then(() => settle(questions, ground, asked));
}

function collect(questions: readonly Question[], { sources, revocation, now }: Ground, asked: Asked) {
  const at = now();
  const missing: (Question & { readonly source: RevocationSource })[] = [];
  const statements = questions.map((question) => {
    const said: Statement[] = [];
    for (let source = nextSource(sources, said); source !== undefined; source = nextSource(sources, said)) {
      const statement = source === 'crl' ? fromCrl(question, revocation, asked, at) : fromOcsp(question, revocation, asked, at);
      if (statement === undefined) {
        missing.push({ ...question, source });
        break;
      }
      said.push(statement);
    }
    return said;
  });
  return { statements, missing };
}

/** Undefined while the CRL is still to be waited for. */
function fromCrl({ certificate, issuer, anchor }: Question, revocation: RevocationView, asked: Asked, at: number): Statement | undefined {
  const statement = revocation.crlStatement(certificate, issuer, anchor, at);
  const wait = statement.kind === 'unavailable' && !asked.fetched.has(certificate.sha256) && revocation.crlMayCome(certificate, issuer, at);
  return wait ? undefined : statement;
}

function fromOcsp({ certificate, issuer }: Question, revocation: RevocationView, asked: Asked, at: number): Statement | undefined {
  return asked.ocsp.get(certificate.sha256) ?? revocation.ocspStatement(certificate, issuer, at);
}
