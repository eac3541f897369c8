import { createHash, createPublicKey, X509Certificate } from 'node:crypto';
import { parseRequest, requestFault, sameAlternativeNames, type CertificationRequest } from '../../pki/certification-request.ts';
import { PkiError, readableCertificate, type Certificate } from '../../pki/certificate.ts';
import { sameName } from '../../pki/name.ts';
import { certsOnly } from '../certs-only.ts';
import { OfficeError } from '../office-error.ts';
import { hourlyLimit } from './rate.ts';
import type { EstEntry, EstRequest, EstSource } from './source.ts';

export interface EstDeskOptions {
  readonly source: EstSource;
  readonly now: () => number;
  /** Of its lifetime, what may be left of a certificate when it is renewed: a third is 1/3. */
  readonly window: number;
  /** Requests for one certificate in an hour. */
  readonly perHour: number;
}

export type EstAnswer =
  | { readonly kind: 'certificates'; readonly der: Buffer; readonly serial?: string; readonly previous?: string }
  | { readonly kind: 'done' }
  /** Taken, and waiting for somebody's approval. */
  | { readonly kind: 'pending'; readonly retryAfter: number }
  /** `status` is HTTP's; `detail` is for the device's log. */
  | { readonly kind: 'refused'; readonly status: 400 | 401 | 403 | 429 | 501 | 503; readonly detail: string; readonly retryAfter?: number };

/** The CA's side of EST (RFC 7030) for devices whose certificate a gateway has admitted. */
export interface EstDesk {
  authorities(): EstAnswer | Promise<EstAnswer>;
  /** A new certificate for a new key, asked for with the one that it renews. `csr` is DER. */
  reenroll(device: Certificate, csr: Uint8Array): Promise<EstAnswer>;
  /** The first certificate, with a name and the code that was made for it; where there is none, it is not offered. `csr` is DER. */
  enroll?(name: string, code: string, csr: Uint8Array): Promise<EstAnswer>;
  /** The device works with this certificate: the one before it may go. */
  confirm(device: Certificate): EstAnswer;
}

const WHO = 'EST';
const HOUR = 3_600_000;
/** A device and the CA count the same third; their clocks may differ by so much. */
const SLACK = HOUR;
const CHANGE_SUBJECT_NAME = '1.3.6.1.5.5.7.7.36';
/** A person has to approve it first. */
const ENROL_AGAIN = 300_000;
/** Of one code in an hour: more than a device asks that comes when it is told. */
const ENROL_PER_HOUR = 30;
/** A common name is no longer. */
const LONGEST_NAME = 64;
const LIVE: ReadonlySet<string> = new Set(['issued', 'delivered', 'confirmed']);

export function createEstDesk({ source, now, window, perHour }: EstDeskOptions): EstDesk {
  const tooMany = hourlyLimit(perHour, now);
  const tooManyWrong = hourlyLimit(perHour, now);
  const tooManyEnrolments = hourlyLimit(ENROL_PER_HOUR, now);
  const atWork = new Set<string>();

  /** The certificate as the CA has it; a device that shows another with this number is none of ours. */
  function own(device: Certificate): EstEntry | Refusal {
    let entry: EstEntry;
    try {
      entry = source.entry(device.serial);
    } catch (error) {
      if (!(error instanceof OfficeError)) throw error;
      return refused(403, 'the certificate is none of this CA');
    }
    if (entry.sha256 !== device.sha256) return refused(403, 'the certificate is none of this CA');
    if (!LIVE.has(entry.state)) return refused(403, `the certificate is ${entry.state}`);
    // Whoever shows it over TLS has it, key and all.
    return entry.state === 'issued' ? source.deliver(entry.serial, { who: WHO, to: entry.subject, how: 'shown by its holder over TLS' }) : entry;
  }

  async function renewed(device: Certificate, entry: EstEntry, request: CertificationRequest): Promise<EstAnswer> {
    const spki = plainKeyDigest(request.spki);
    const successor = entry.renewedBy === undefined ? undefined : source.entry(entry.renewedBy);
    // The answer got lost: the same request has the same answer, and no second certificate comes of it.
    if (successor?.spkiSha256 === spki && LIVE.has(successor.state)) return answerOf(successor, entry);
    if (now() < entry.notAfter - (entry.notAfter - entry.notBefore) * window - SLACK) {
      return refused(403, `too early: this certificate may be renewed from ${new Date(entry.notAfter - (entry.notAfter - entry.notBefore) * window).toISOString()}`);
    }
    const waiting = source.renewals(entry.serial).find((one) => ['requested', 'approved', 'issuing'].includes(one.state));
    let open: EstRequest | undefined = waiting?.key.kind === 'csr' && waiting.key.spki_sha256 === spki ? waiting : undefined;
    if (open === undefined) {
      const why = 'its device asked again with another key';
      if (waiting?.state === 'issuing') return refused(503, 'a certificate is being signed for this device', 30_000);
      if (waiting !== undefined) source.refuse(waiting.id, { who: WHO, why });
      // Of two successors one would live on unseen: the one that was never confirmed goes.
      if (successor !== undefined && (successor.state === 'issued' || successor.state === 'delivered')) source.revoke(successor.serial, { who: WHO, why, reason: 'superseded' });
      open = source.renew(entry.serial, {
        key: { kind: 'csr', csr: request.der }, applicant: { name: entry.subject, certificate: device.der }, authenticated: device.sha256,
      });
    }
    if (open.state === 'requested') return { kind: 'pending', retryAfter: HOUR };
    const issued = await source.issue(open.id, { who: WHO });
    return answerOf(source.deliver(issued.entry.serial, { who: WHO, to: entry.subject, how: 'EST simplereenroll' }), entry);
  }

  return {
    authorities: () => ({ kind: 'certificates', der: certsOnly([...issuing(source), derOf(source.root)]) }),
    async reenroll(device, csr) {
      if (tooMany(device.serial)) return refused(429, `more than ${perHour} requests in an hour`, HOUR / perHour);
      const request = readRequest(csr);
      if ('kind' in request) return request;
      const fault = requestFault(request) ?? nameFault(request, device);
      if (fault !== undefined) return refused(400, fault);
      const entry = own(device);
      if ('kind' in entry) return entry;
      if (atWork.has(entry.serial)) return refused(503, 'another request of this device is being answered', 5000);
      atWork.add(entry.serial);
      try {
        return await renewed(device, entry, request);
      } catch (error) {
        return officeRefusal(error);
      } finally {
        atWork.delete(entry.serial);
      }
    },
    async enroll(name, code, csr) {
      if (name.length > LONGEST_NAME || !source.isCode(name, code)) {
        // Of a secret with 123 bits the tries need no limit; of what they cost and write into the log they do. Who has the code is not kept out by those who have not.
        return tooManyWrong(name.slice(0, LONGEST_NAME)) ? refused(429, 'too many tries with this name', HOUR / perHour) : refused(401, 'no such name and code');
      }
      if (tooManyEnrolments(code)) return refused(429, `more than ${ENROL_PER_HOUR} requests in an hour`, HOUR / ENROL_PER_HOUR);
      const request = readRequest(csr);
      if ('kind' in request) return request;
      try {
        const enrolment = await source.enrol({ name, code, csr: request.der }, { who: WHO });
        if (enrolment.kind === 'issued') return { kind: 'certificates', der: certsOnly([enrolment.entry.der]), serial: enrolment.entry.serial };
        return enrolment.kind === 'pending' ? { kind: 'pending', retryAfter: ENROL_AGAIN } : refused(401, 'no such name and code');
      } catch (error) {
        return officeRefusal(error);
      }
    },
    confirm(device) {
      try {
        const entry = own(device);
        if ('kind' in entry) return entry;
        if (entry.state === 'delivered') source.confirm(entry.serial, { who: WHO, how: 'seen working: its device called over it' });
        return { kind: 'done' };
      } catch (error) {
        return officeRefusal(error);
      }
    },
  };
}

type Refusal = Extract<EstAnswer, { kind: 'refused' }>;

function readRequest(csr: Uint8Array): CertificationRequest | Refusal {
  try {
    return parseRequest(csr);
  } catch (error) {
    if (error instanceof PkiError) return refused(400, error.message);
    throw error;
  }
}

/** RFC 7030 section 4.2.2: subject and subjectAltName are those of the certificate that is renewed; a new name is a new enrolment. */
export function nameFault(request: CertificationRequest, device: Certificate): string | undefined {
  if (request.attributes.includes(CHANGE_SUBJECT_NAME)) return 'the request would have another name: that is a new enrolment';
  if (!sameName(request.subject, device.subject)) return 'the subject of the request is not that of the certificate';
  if (!sameAlternativeNames(request.extensions, device.extensions)) return 'the alternative names of the request are not those of the certificate';
  // One key for ever is one theft for ever.
  return plainKeyDigest(request.spki) === plainKeyDigest(device.spki) ? 'the request is of the key of the certificate: a new key is needed' : undefined;
}

/** Of the one form of a key: a compressed point is the same key as one that is not. */
function plainKeyDigest(spki: Uint8Array): string {
  const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  // Of RSA-PSS there is no JWK, and no second form.
  const plain = key.asymmetricKeyType === 'rsa-pss' ? key : createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  return createHash('sha256').update(plain.export({ type: 'spki', format: 'der' })).digest('hex');
}

function answerOf(entry: EstEntry, previous: EstEntry): EstAnswer {
  return { kind: 'certificates', der: certsOnly([entry.der]), serial: entry.serial, previous: previous.serial };
}

function officeRefusal(error: unknown): Refusal {
  if (!(error instanceof OfficeError)) throw error;
  if (error.code === 'busy') return refused(503, error.message, 30_000);
  return refused(error.code === 'key_reused' || error.code === 'invalid' ? 400 : 403, error.message);
}

function refused(status: Refusal['status'], detail: string, retryAfter?: number): Refusal {
  return { kind: 'refused', status, detail, ...(retryAfter === undefined ? {} : { retryAfter }) };
}

function issuing(source: EstSource): readonly Buffer[] {
  return source.issuers().flatMap(({ certificate, state }) => (certificate === undefined || state === 'requested' ? [] : [derOf(certificate)]));
}

function derOf(pem: string): Buffer {
  return Buffer.from(new X509Certificate(pem).raw);
}

/** The certificate of a device as a gateway names it (RFC 9440 section 2.1): one byte sequence of RFC 8941. Undefined when it is none. */
export function readClientCert(value: string | undefined): Certificate | undefined {
  const [, base64] = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(value ?? '') ?? [];
  if (base64 === undefined) return undefined;
  const der = Buffer.from(base64, 'base64');
  return der.toString('base64') === base64 ? readableCertificate(der) : undefined;
}
