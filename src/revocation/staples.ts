import type { RevocationConfig } from '../config/schema.ts';
import type { Certificate } from '../pki/certificate.ts';
import { buildOcspRequest, judgeOcspResponse, type OcspAnswer, type OcspQuestion } from '../pki/ocsp.ts';
import type { Kept } from './kept.ts';
import { failureOf, fetchAnswer } from './ocsp-client.ts';
import { printableUrl, refuseUrl } from './named-urls.ts';
import { openOutbound, type Outbound } from './outbound.ts';
import { revocationReason } from './status.ts';

/** A certificate of our own that an answer is kept for. Times in milliseconds. */
export interface StapleWanted {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
  /** Asked first; absent: those that the certificate names alone. */
  readonly responder?: string;
  readonly every: number;
  readonly timeout: number;
}

/** What is known of a certificate of our own from its responder. */
export interface StapleReport {
  /** Present while there is an answer to show. */
  readonly shown_until?: string;
  readonly revoked?: string;
  readonly last_error?: { readonly at: string; readonly detail: string };
}

/** An OCSP answer as it is shown to clients. */
export interface Staple {
  /** SHA-256 of the certificate, lowercase hex. */
  readonly certificate: string;
  readonly answer: Uint8Array;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

/** The answers for our own certificates, fetched ahead. */
export interface Staples {
  /** Takes what is wanted from now on, with what was kept of it; those that are `urgent` and have nothing are asked for at once, and waited for: once their `timeout`, however many responders there are. */
  want(wanted: readonly StapleWanted[], revocation: RevocationConfig, urgent: (certificate: Certificate) => boolean): Promise<void>;
  /** To be called every second or so: asks for what is due. */
  look(): void;
  /** What may be shown now. */
  all(): readonly Staple[];
  /** Why the responder's last word is that a certificate is revoked. */
  revoked(certificate: Certificate): string | undefined;
  report(certificate: Certificate): StapleReport;
  close(): Promise<void>;
}

export interface StaplesOptions {
  readonly kept: Kept;
  readonly now: () => number;
  /** What is known otherwise of a delegated responder's certificate. */
  readonly delegateStatus: NonNullable<OcspQuestion['delegateStatus']>;
  /** What is to be shown, or what is known of a certificate, has changed. */
  readonly changed: () => void;
  /** A responder gave nothing usable; told once until it does again. */
  readonly failed: (responder: string, detail: string) => void;
}

type Conclusive = Exclude<OcspAnswer, { kind: 'unavailable' }>;

interface Held {
  wanted: StapleWanted;
  answer?: Conclusive & { readonly bytes: Uint8Array };
  nextAt: number;
  failures: number;
  lastError?: { readonly at: number; readonly detail: string };
  running?: Promise<void>;
}

const CONNECT_MS = 5_000;
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60_000;
const SOONEST_MS = 1_000;
const MOST_RESPONDERS = 4;
/** An answer is believed for as long as it says; this is for those that would say ten years. */
const LONGEST_LIFE_MS = 14 * 86_400_000;

export function createStaples({ kept, now, delegateStatus, changed, failed }: StaplesOptions): Staples {
  const held = new Map<string, Held>();
  const closing = new AbortController();
  let revocation: RevocationConfig | undefined;
  let outbound: Outbound | undefined;

  async function want(wanted: readonly StapleWanted[], config: RevocationConfig, urgent: (certificate: Certificate) => boolean): Promise<void> {
    if (revocation?.proxy !== config.proxy || revocation?.allow_local !== config.allow_local || outbound === undefined) {
      outbound?.close();
      outbound = openOutbound({ connectTimeout: CONNECT_MS, allowLocal: config.allow_local, ...(config.proxy === undefined ? {} : { proxy: config.proxy }) });
    }
    revocation = config;
    const names = new Set(wanted.map(({ certificate }) => certificate.sha256));
    for (const name of held.keys()) if (!names.has(name)) held.delete(name);
    await Promise.all(wanted.map(async (one) => {
      const { sha256 } = one.certificate;
      const known = held.get(sha256);
      if (known !== undefined) {
        if (known.wanted.responder !== one.responder) known.nextAt = 0;
        known.wanted = one;
        return;
      }
      const made: Held = { wanted: one, nextAt: 0, failures: 0 };
      held.set(sha256, made);
      await recall(made);
      if (made.answer === undefined && urgent(one.certificate)) await atMost(one.timeout, ask(made));
    }));
  }

  /** What was kept of an earlier run, judged again as of when it came. */
  async function recall(one: Held): Promise<void> {
    const file = await kept.read(one.wanted.certificate.sha256);
    const came = (file?.head as { readonly received_at?: unknown } | undefined)?.received_at;
    if (file === undefined || typeof came !== 'number' || came > now()) return;
    const answer = judge(one.wanted, file.bytes, came);
    if (answer.kind !== 'unavailable') take(one, { ...answer, bytes: file.bytes }, came);
  }

  function judge({ certificate, issuer }: StapleWanted, bytes: Uint8Array, at: number): OcspAnswer {
    return judgeOcspResponse(bytes, { certificate, issuer, now: at, skew: revocation?.skew ?? 0, maxAge: LONGEST_LIFE_MS, delegateStatus });
  }

  /** Half of its life is over, or the responder is to be asked anyway. */
  function take(one: Held, answer: Conclusive & { readonly bytes: Uint8Array }, at: number): void {
    one.answer = answer;
    const { thisUpdate, nextUpdate = at + one.wanted.every } = answer;
    const half = thisUpdate + (nextUpdate - thisUpdate) / 2;
    one.nextAt = Math.max(at + SOONEST_MS, Math.min(half < at ? at + (nextUpdate - at) / 2 : half, at + one.wanted.every));
  }

  function ask(one: Held): Promise<void> {
    one.running ??= askResponders(one).finally(() => {
      delete one.running;
    });
    return one.running;
  }

  async function askResponders(one: Held): Promise<void> {
    const { wanted } = one;
    const problems: string[] = [];
    for (const { url, dispatcher } of respondersFor(wanted, problems)) {
      const signal = AbortSignal.any([AbortSignal.timeout(wanted.timeout), closing.signal]);
      try {
        // Without a nonce: an answer that is shown to many cannot have one, and responders that sign in advance know none.
        const bytes = await fetchAnswer(url, buildOcspRequest(wanted.certificate, wanted.issuer), false, dispatcher, signal);
        const answer = judge(wanted, bytes, now());
        if (answer.kind === 'unavailable') problems.push(`${printableUrl(url)}: ${answer.detail}`);
        // A recording of how things were, played by whoever stands on the way.
        else if (one.answer !== undefined && answer.thisUpdate < one.answer.thisUpdate) problems.push(`${printableUrl(url)}: the answer is older than the one at hand`);
        else return received(one, { ...answer, bytes });
      } catch (error) {
        problems.push(`${printableUrl(url)}: ${failureOf(error, wanted.timeout)}`);
      }
    }
    if (closing.signal.aborted) return;
    const detail = problems.join('; ') || 'no responder is known';
    one.failures += 1;
    one.nextAt = now() + Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(one.failures - 1, 10));
    one.lastError = { at: now(), detail };
    if (one.failures === 1) failed(wanted.responder ?? wanted.certificate.ocspResponders[0] ?? '', detail);
  }

  function received(one: Held, answer: Conclusive & { readonly bytes: Uint8Array }): void {
    const at = now();
    one.failures = 0;
    delete one.lastError;
    take(one, answer, at);
    void kept.write({ key: one.wanted.certificate.sha256, head: { received_at: at }, bytes: answer.bytes });
    changed();
  }

  function respondersFor({ responder, certificate }: StapleWanted, problems: string[]): readonly { readonly url: string; readonly dispatcher: Outbound['named'] }[] {
    if (outbound === undefined) return [];
    const { configured, named } = outbound;
    const own = certificate.ocspResponders.flatMap((url) => {
      const refusal = refuseUrl(url, revocation?.allow_local ?? false);
      if (refusal !== undefined) problems.push(`${printableUrl(url)}: ${refusal}`);
      return refusal === undefined ? [{ url, dispatcher: named }] : [];
    });
    return [...(responder === undefined ? [] : [{ url: responder, dispatcher: configured }]), ...own].slice(0, MOST_RESPONDERS);
  }

  /** Good, with an end that clients can see, and before it. */
  function shown({ wanted, answer }: Held): Staple | undefined {
    if (answer?.kind !== 'good' || answer.nextUpdate === undefined || now() >= answer.nextUpdate) return undefined;
    return { certificate: wanted.certificate.sha256, answer: answer.bytes, until: answer.nextUpdate };
  }

  function revoked({ sha256 }: Certificate): string | undefined {
    const answer = held.get(sha256)?.answer;
    return answer?.kind === 'revoked' ? `its responder says it was revoked ${new Date(answer.revokedAt).toISOString()} (${revocationReason(answer.code)})` : undefined;
  }

  return {
    want,
    look() {
      const at = now();
      for (const one of held.values()) if (one.nextAt <= at && one.running === undefined && !closing.signal.aborted) void ask(one);
    },
    all: () => [...held.values()].flatMap((one) => shown(one) ?? []),
    revoked,
    report(certificate) {
      const one = held.get(certificate.sha256);
      const staple = one === undefined ? undefined : shown(one);
      const said = revoked(certificate);
      return {
        ...(staple === undefined ? {} : { shown_until: new Date(staple.until).toISOString() }),
        ...(said === undefined ? {} : { revoked: said }),
        ...(one?.lastError === undefined ? {} : { last_error: { at: new Date(one.lastError.at).toISOString(), detail: one.lastError.detail } }),
      };
    },
    async close() {
      closing.abort(new Error('the gateway stops'));
      outbound?.close();
      await Promise.all([...held.values()].map(({ running }) => running));
      await kept.settled();
    },
  };
}

/** Waits for something, and not longer than `most` ms. */
function atMost(most: number, awaited: Promise<void>): Promise<void> {
  return Promise.race([awaited, new Promise<void>((done) => void setTimeout(done, most).unref())]);
}
