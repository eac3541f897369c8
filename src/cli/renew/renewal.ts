import { createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createRequest } from '../../ca/request.ts';
import { pem } from '../../ca/der.ts';
import { generateKey, spkiOf, type KeyType } from '../../ca/keys.ts';
import { parseCertificate, PkiError, type Certificate } from '../../pki/certificate.ts';
import { EXTENSION } from '../../pki/extensions.ts';
import { pemBlocks } from '../../pki/pem.ts';
import { judgeAnswer, readCertificates } from './answer.ts';
import { callEst, operationUrl, type EstCaller, type EstReply } from '../../ca/est/client.ts';
import { begin, begun, confirmed, forget, readPair, receive, replacePair, type Begun, type Pair, type PairFiles, type Step } from './pair-files.ts';

/** One attempt to renew. */
export interface Attempt {
  readonly files: PairFiles;
  /** Of the EST server; `operationUrl` has taken it. */
  readonly est: string;
  /** PEM: anchors of the server's certificate. */
  readonly trust: string;
  /** What the new certificate must be able to fetch before it is put in place; default: the CA's certificates, through the same server. */
  readonly check?: URL;
  /** ms since the epoch */
  readonly now: number;
  readonly step?: Step;
}

export type Outcome =
  | { readonly kind: 'renewed'; readonly certificate: Certificate; readonly previous: Certificate }
  /** `soon`: the next attempt may succeed. `no`: somebody has to do something first. */
  | { readonly kind: 'failed'; readonly at: Stage; readonly detail: string; readonly again: 'soon' | 'no'; readonly retryAfter?: number };

export type Stage = 'files' | 'clock' | 'cacerts' | 'reenroll' | 'answer' | 'check' | 'swap';

type Failure = Extract<Outcome, { kind: 'failed' }>;

/** The first certificate of a file; throws a PkiError. */
export function leafOf(chain: string): Certificate {
  const [first] = pemBlocks(chain, 'CERTIFICATE');
  if (first === undefined) throw new PkiError('malformed', 'no certificate in PEM');
  return parseCertificate(first.der);
}

/** Before this Wardgate there was none: a device whose clock says so has lost it. */
const EARLIEST = Date.UTC(2026, 0, 1);
const SKEW = 5 * 60_000;

/** Why nothing can be renewed at this time; undefined when it can. */
export function clockFault({ notBefore, notAfter }: Certificate, now: number): string | undefined {
  const says = new Date(now).toISOString();
  if (now < EARLIEST) return `the clock says ${says}: it is not set; set it (NTP) before anything else`;
  if (now < notBefore - SKEW) return `the clock says ${says}, and the certificate is valid from ${new Date(notBefore).toISOString()}: one of the two is wrong`;
  if (now > notAfter) return `the certificate expired ${new Date(notAfter).toISOString()} (the clock says ${says}): it can no longer renew itself; issue a new one`;
  return undefined;
}

/**
 * Renews a device's certificate over EST (RFC 7030 section 4.2.2): a new key, the same names, asked for with the old certificate; the answer judged, the new
 * certificate seen working, and only then put in the place of the old one. Takes up what an earlier attempt had begun. Never throws.
 */
export async function renew(attempt: Attempt): Promise<Outcome> {
  const { files, est, trust, now } = attempt;
  let pair: Pair;
  let old: Certificate;
  try {
    pair = readPair(files);
    old = leafOf(pair.certificate);
  } catch (error) {
    return failed('files', (error as Error).message, 'no');
  }
  const fault = clockFault(old, now);
  if (fault !== undefined) return failed('clock', fault, 'no');
  try {
    const authorities = await fetchAuthorities(est, { ...pair, trust });
    if ('kind' in authorities) return authorities;
    const received = await obtain(attempt, pair, old, authorities);
    if ('kind' in received) return received;
    const caller = { certificate: received.certificate, key: received.key, trust };
    const check = await callEst(attempt.check ?? (operationUrl(est, 'cacerts') as URL), caller);
    if (check.kind === 'unreachable' || check.status < 200 || check.status > 299) return failed('check', `the new certificate does not work yet: ${said(check)}; the old one stays`, 'soon');
    try {
      replacePair(files, received.name, attempt.step);
    } catch (error) {
      return failed('swap', `${(error as Error).message}; the old pair stays`, 'no');
    }
    return { kind: 'renewed', certificate: leafOf(received.certificate), previous: old };
  } catch (error) {
    return failed('files', (error as Error).message, 'no');
  }
}

/**
 * Tells the CA over the certificate in force that it works, which is what it waits for before it lets the one before go. A CA that knows no such call lets it
 * expire. Returns why it could not be told, to be tried again; undefined when that is done with.
 */
export async function confirm({ files, est, trust }: Pick<Attempt, 'files' | 'est' | 'trust'>): Promise<string | undefined> {
  const reply = await callEst(operationUrl(est, 'confirm') as URL, { ...readPair(files), trust }, { type: 'text/plain', text: '' });
  if (reply.kind === 'unreachable' || (reply.status > 299 && ![404, 405, 501].includes(reply.status))) return said(reply);
  confirmed(files);
  return undefined;
}

async function fetchAuthorities(est: string, caller: EstCaller): Promise<readonly Certificate[] | Failure> {
  const reply = await callEst(operationUrl(est, 'cacerts') as URL, caller);
  if (reply.kind === 'unreachable' || reply.status !== 200) return refused('cacerts', reply);
  try {
    return readCertificates(reply.body);
  } catch (error) {
    if (!(error instanceof PkiError)) throw error;
    return failed('cacerts', `the CA's certificates cannot be read: ${error.message}`, 'soon');
  }
}

type Received = Begun & Pair;

/** The new pair: what was received before and is still good, or what the CA answers now. */
async function obtain(attempt: Attempt, pair: Pair, old: Certificate, authorities: readonly Certificate[]): Promise<Received | Failure> {
  const { files, now } = attempt;
  const judge = (key: string, answered: readonly Certificate[]) => judgeAnswer(answered, { old, spki: spkiOf(createPrivateKey(key)), authorities, now });
  let open = begun(files);
  if (open?.certificate !== undefined) {
    const judged = judge(open.key, pemBlocks(open.certificate, 'CERTIFICATE').map(({ der }) => parseCertificate(der)));
    if (judged.kind === 'good') return { ...open, certificate: open.certificate };
    open = undefined;
  }
  open ??= await start(attempt, pair, old);
  const reply = await callEst(operationUrl(attempt.est, 'simplereenroll') as URL, { ...pair, trust: attempt.trust }, {
    type: 'application/pkcs10', text: open.request.toString('base64').replace(/.{64}/g, '$&\n'),
  });
  if (reply.kind === 'answer' && reply.status === 202) return failed('reenroll', 'the CA has taken the request and not yet decided', 'soon', reply.retryAfter);
  if (reply.kind === 'unreachable' || reply.status !== 200) {
    const failure = refused('reenroll', reply);
    // What is refused for good is not asked again; the next request is of another key.
    if (failure.again === 'no') forget(files);
    return failure;
  }
  try {
    const judged = judge(open.key, readCertificates(reply.body));
    if (judged.kind === 'bad') {
      forget(files);
      return failed('answer', judged.detail, 'no');
    }
    const certificate = judged.chain.map(({ der }) => pem('CERTIFICATE', der)).join('');
    receive(files, open.name, certificate, attempt.step);
    return { ...open, certificate };
  } catch (error) {
    if (!(error instanceof PkiError)) throw error;
    return failed('answer', `the CA's answer cannot be read: ${error.message}`, 'soon');
  }
}

async function start({ files, now, step }: Attempt, pair: Pair, old: Certificate): Promise<Begun> {
  const { privateKey } = await generateKey(keyTypeOf(createPrivateKey(pair.key)));
  const names = old.extensions.filter(({ oid }) => oid === EXTENSION.subjectAltName);
  const request = await createRequest(privateKey, { subject: old.subject.der, extensions: names });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const name = `renewed-${new Date(now).toISOString().replace(/[-:.]/g, '')}`;
  begin(files, name, key, request, step);
  return { name, key, request };
}

/** Of the kind of the old key, and no weaker than is given out today. */
function keyTypeOf(key: KeyObject): KeyType {
  const { asymmetricKeyType: kind, asymmetricKeyDetails: details } = key;
  if (kind === 'ed25519' || kind === 'ed448') return kind;
  if (kind === 'rsa') return (details?.modulusLength ?? 0) > 3072 ? 'rsa4096' : 'rsa3072';
  if (details?.namedCurve === 'secp384r1') return 'ec384';
  return details?.namedCurve === 'secp521r1' ? 'ec521' : 'ec';
}

function refused(at: Stage, reply: EstReply): Failure {
  // 408, 429 and faults of the server pass; any other refusal stays until somebody does something.
  const passing = reply.kind === 'unreachable' || reply.status >= 500 || reply.status === 408 || reply.status === 429;
  return failed(at, said(reply), passing ? 'soon' : 'no', reply.kind === 'answer' ? reply.retryAfter : undefined);
}

export function said(reply: EstReply): string {
  if (reply.kind === 'unreachable') return reply.detail;
  // eslint-disable-next-line no-control-regex
  const words = reply.body.replace(/[\u0000-\u001f\u007f-\uffff]+/g, ' ').trim().slice(0, 300);
  return `status ${reply.status}${words === '' ? '' : `: ${words}`}`;
}

function failed(at: Stage, detail: string, again: 'soon' | 'no', retryAfter?: number): Failure {
  return { kind: 'failed', at, detail, again, ...(retryAfter === undefined ? {} : { retryAfter }) };
}
