import { readBundle } from '../../pki/bundle.ts';
import { validatePath, createPool } from '../../pki/path.ts';
import { EXTENSION } from '../../pki/extensions.ts';
import { PkiError, type Certificate } from '../../pki/certificate.ts';
import { parseRequest, requestFault, sameAlternativeNames, type CertificationRequest } from '../../pki/certification-request.ts';
import { sameBytes } from '../../pki/der.ts';
import { sameName } from '../../pki/name.ts';
import { callEst, operationUrl, type EstCaller, type EstReply } from './client.ts';
import { nameFault, type EstAnswer, type EstDesk } from './desk.ts';
import { hourlyLimit } from './rate.ts';

export interface RelayOptions {
  /** The EST server of the other CA; `operationUrl` has taken it. */
  readonly upstream: string;
  /** The certificate by which that CA knows a registration authority, and the anchors of its server. PEM. */
  readonly caller: EstCaller;
  /** What it is asked with; in the RA modes of CAs a renewal is an enrolment by the RA. */
  readonly operation: 'simpleenroll' | 'simplereenroll';
  /** Requests of one device in an hour; default 10. */
  readonly perHour?: number;
  /** ms since the epoch; default the clock. */
  readonly now?: () => number;
}

const MOST = 32;
const HOUR = 3_600_000;
/** The certificates of a CA change once in years. */
const REMEMBERED = 600_000;
const EXTENSION_REQUEST = '1.2.840.113549.1.9.14';
const CHALLENGE_PASSWORD = '1.2.840.113549.1.9.7';

/**
 * A registration authority (RFC 7030 section 2.6) before another CA: holds a request against the certificate of the device that the gateway has admitted, and only then asks the
 * CA in its own name. A CA that takes the caller for an RA issues whatever a request names: without this, any device could have any name.
 */
export function createRelayDesk({ upstream, caller, operation, perHour = 10, now = () => Date.now() }: RelayOptions): EstDesk {
  const tooMany = hourlyLimit(perHour, now);
  let known: { readonly certificates: readonly Certificate[]; readonly until: number } | undefined;
  const url = (what: 'cacerts' | 'simpleenroll' | 'simplereenroll'): URL => operationUrl(upstream, what) as URL;

  /** Another CA that the gateway trusts as well could give its devices any name, and would have them certified by this one. */
  async function strangerFault(device: Certificate): Promise<EstAnswer | undefined> {
    if (known === undefined || now() >= known.until) {
      const reply = await callEst(url('cacerts'), caller);
      if (reply.kind !== 'answer' || reply.status !== 200) return unanswered(reply);
      try {
        known = { certificates: readBundle(Buffer.from(reply.body, 'base64'), MOST), until: now() + REMEMBERED };
      } catch (error) {
        if (!(error instanceof PkiError)) throw error;
        return { kind: 'refused', status: 503, detail: `the certificates of the CA cannot be read: ${error.message}` };
      }
    }
    const roots = known.certificates.filter(({ selfIssued }) => selfIssued);
    const pool = createPool(roots.length > 0 ? roots : known.certificates, known.certificates);
    return validatePath(device, pool, { now: now(), purpose: 'client' }).kind === 'valid' ? undefined : { kind: 'refused', status: 403, detail: 'the certificate is none of the CA behind this relay' };
  }

  return {
    async authorities() {
      const reply = await callEst(url('cacerts'), caller);
      return reply.kind === 'answer' && reply.status === 200 ? answerOf(reply.body, () => undefined) : unanswered(reply);
    },
    async reenroll(device, csr) {
      if (tooMany(`${device.serial} ${device.issuer.normalized}`)) return { kind: 'refused', status: 429, detail: `more than ${perHour} requests in an hour`, retryAfter: HOUR / perHour };
      const request = tryParse(csr);
      if (typeof request === 'string') return { kind: 'refused', status: 400, detail: request };
      const fault = requestFault(request) ?? nameFault(request, device) ?? wishFault(request, device);
      if (fault !== undefined) return { kind: 'refused', status: 400, detail: fault };
      const stranger = await strangerFault(device);
      if (stranger !== undefined) return stranger;
      const reply = await callEst(url(operation), caller, { type: 'application/pkcs10', text: Buffer.from(request.der).toString('base64').replace(/.{64}/g, '$&\n') });
      if (reply.kind === 'answer' && reply.status === 202) return { kind: 'pending', retryAfter: reply.retryAfter ?? 3_600_000 };
      if (reply.kind !== 'answer' || reply.status !== 200) return unanswered(reply);
      return answerOf(reply.body, (certificates) => issuedFault(certificates, request.spki, device));
    },
    // Other CAs wait for no such word: the old certificate ends by itself.
    confirm: () => ({ kind: 'refused', status: 501, detail: 'the CA behind this relay does not wait to be told' }),
  };
}

function tryParse(csr: Uint8Array) {
  try {
    return parseRequest(csr);
  } catch (error) {
    if (error instanceof PkiError) return error.message;
    throw error;
  }
}

/** A CA that believes its RA gives what a request names: further uses, another template, a CA of one's own. What the device has already it may name again. */
function wishFault(request: CertificationRequest, device: Certificate): string | undefined {
  const attribute = request.attributes.find((one) => one !== EXTENSION_REQUEST && one !== CHALLENGE_PASSWORD);
  if (attribute !== undefined) return `the request has an attribute that is not passed on: ${attribute}`;
  const wish = request.extensions.find(({ oid, value }) => oid !== EXTENSION.subjectAltName && !device.extensions.some((one) => one.oid === oid && sameBytes(one.value, value)));
  return wish === undefined ? undefined : `the request asks for an extension that the certificate does not have: ${wish.oid}`;
}

/** What the CA gave is for this device and this key, whatever the CA thought was asked. */
function issuedFault(certificates: readonly Certificate[], spki: Uint8Array, device: Certificate): string | undefined {
  const issued = certificates.find((one) => sameBytes(one.spki, spki));
  if (issued === undefined) return 'the CA has issued for another key';
  const same = sameName(issued.subject, device.subject) && sameAlternativeNames(issued.extensions, device.extensions);
  if (!same || issued.basicConstraints?.ca === true) return 'the CA has issued for other names';
  const uses = ({ extendedKeyUsage }: Certificate): string => [...extendedKeyUsage ?? []].toSorted().join(' ');
  return uses(issued) === uses(device) ? undefined : 'the CA has issued for other uses';
}

function answerOf(body: string, fault: (certificates: readonly Certificate[]) => string | undefined): EstAnswer {
  try {
    const der = Buffer.from(body, 'base64');
    const found = fault(readBundle(der, MOST));
    return found === undefined ? { kind: 'certificates', der } : { kind: 'refused', status: 503, detail: found };
  } catch (error) {
    if (!(error instanceof PkiError)) throw error;
    return { kind: 'refused', status: 503, detail: `the answer of the CA cannot be read: ${error.message}` };
  }
}

function unanswered(reply: EstReply): EstAnswer {
  if (reply.kind === 'unreachable') return { kind: 'refused', status: 503, detail: `the CA cannot be reached: ${reply.detail}`, retryAfter: 60_000 };
  // What the CA says to its RA is for the log and not for devices.
  const status = reply.status === 400 || reply.status === 403 ? reply.status : 503;
  return { kind: 'refused', status, detail: `the CA answered ${reply.status}`, ...(reply.retryAfter === undefined ? {} : { retryAfter: reply.retryAfter }) };
}
