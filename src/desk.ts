import type { BreakGlass } from './break-glass.ts';
import type { SecondFactor } from './factor/second-factor.ts';
import { createEmergencyPage } from './factor/emergency-page.ts';
import type { GrantAsk, PageAnswer, PageRequest, RaisedAlarm } from './forward/client.ts';
import type { IssuerKeys } from './issuer-keys.ts';
import type { Log } from './log.ts';
import { parseCertificate } from './pki/certificate.ts';
import type { Findings, SessionFinding } from './policy/facts.ts';
import type { Refresher } from './revocation/refresher.ts';
import type { Rates } from './store/rates.ts';
import type { FindingsQuestion, ToMain } from './thread-protocol.ts';
import type { Webhooks } from './webhooks.ts';

export interface DeskOptions {
  readonly refresher: Pick<Refresher, 'askOcsp' | 'fetchCrl' | 'fetchIssuers'>;
  readonly issuerKeys: Pick<IssuerKeys, 'refresh'>;
  readonly rates: Rates;
  /** Undefined where no route requires a second factor. */
  readonly secondFactor: () => SecondFactor | undefined;
  readonly breakGlass: Pick<BreakGlass, 'find' | 'openFor' | 'withdraw'>;
  readonly now: () => number;
  readonly webhooks: Pick<Webhooks, 'take'>;
  readonly alarm: (raised: RaisedAlarm) => void;
  /** Answers operators. */
  readonly admin: (request: PageRequest) => Promise<PageAnswer>;
  readonly log: Log;
}

/** The main thread's answers to what data-plane threads tell and ask: what exists once a gateway is found here. What is thrown is told to them. */
export function createDesk({ refresher, issuerKeys, rates, secondFactor, breakGlass, now, webhooks, alarm, admin, log }: DeskOptions): (ask: ToMain) => unknown {
  const emergencyPage = createEmergencyPage(breakGlass, now);

  /** What a request needs that exists once a gateway. What is used up is asked no further. */
  async function find({ counters, session: named, grant }: FindingsQuestion): Promise<Findings> {
    const limits = await rates.take(counters);
    if (limits.kind === 'exceeded') return { limits, session: { kind: 'none' } };
    const factor = secondFactor();
    const session = named === undefined || factor === undefined ? { kind: 'none' } as const : await factor.find(named.token, named);
    if (grant === undefined || !hasShown(session, grant.factors)) return { limits, session };
    return { limits, session, grant: await breakGlass.find(grant) };
  }

  function answerPage(request: PageRequest): Promise<PageAnswer> {
    const { emergency, operator } = request;
    if (operator === true) return admin(request);
    if (emergency !== undefined) return emergencyPage({ ...request, emergency });
    return secondFactor()?.answerPage(request) ?? Promise.reject(new Error('a page that no route needs'));
  }

  return (ask) => {
    switch (ask.kind) {
      case 'find': return find(ask);
      case 'sessions': return secondFactor()?.again(ask.sessions) ?? [];
      case 'count': return rates.add(ask.counters);
      case 'ocsp': return refresher.askOcsp(parseCertificate(ask.certificate), parseCertificate(ask.issuer));
      case 'crl': return refresher.fetchCrl(parseCertificate(ask.certificate), parseCertificate(ask.issuer));
      case 'issuers': return refresher.fetchIssuers(ask.url);
      case 'issuer_keys': return issuerKeys.refresh(ask.source);
      case 'alarm': return alarm(ask.raised);
      case 'told': return webhooks.take(ask.told);
      case 'page': return answerPage(ask.request);
      // The verdict is ours; where the library's is another, somebody should look.
      case 'witness': return log.warn({ certificate: ask.certificate, ours: ask.ours, openssl: ask.theirs }, 'OpenSSL judges a client certificate otherwise');
    }
  };
}

/** Nothing is opened for who has not shown a factor that the route takes. */
function hasShown(session: SessionFinding, wanted: GrantAsk['factors']): boolean {
  return wanted === undefined || (session.kind === 'valid' && session.factors.some((factor) => wanted.includes(factor)));
}
