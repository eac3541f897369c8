import { readBundle } from '../../pki/bundle.ts';
import { PkiError, type Certificate } from '../../pki/certificate.ts';
import { parseRequest, requestFault, sameAlternativeNames } from '../../pki/certification-request.ts';
import { sameBytes } from '../../pki/der.ts';
import { sameName } from '../../pki/name.ts';
import { callEst, operationUrl, type EstCaller, type EstReply } from './client.ts';
import { nameFault, type EstAnswer, type EstDesk } from './desk.ts';

export interface RelayOptions {
  /** The EST server of the other CA; `operationUrl` has taken it. */
  readonly upstream: string;
  /** The certificate by which that CA knows a registration authority, and the anchors of its server. PEM. */
  readonly caller: EstCaller;
  /** What it is asked with; in the RA modes of CAs a renewal is an enrolment by the RA. */
  readonly operation: 'simpleenroll' | 'simplereenroll';
}

const MOST = 32;

/**
 * A registration authority (RFC 7030 section 2.6) before another CA: holds a request against the certificate of the device that the gateway has admitted, and only then asks the
 * CA in its own name. A CA that takes the caller for an RA issues whatever a request names: without this, any device could have any name.
 */
export function createRelayDesk({ upstream, caller, operation }: RelayOptions): EstDesk {
  const url = (what: 'cacerts' | 'simpleenroll' | 'simplereenroll'): URL => operationUrl(upstream, what) as URL;
  return {
    async authorities() {
      const reply = await callEst(url('cacerts'), caller);
      return reply.kind === 'answer' && reply.status === 200 ? answerOf(reply.body, () => undefined) : unanswered(reply);
    },
    async reenroll(device, csr) {
      const request = tryParse(csr);
      if (typeof request === 'string') return { kind: 'refused', status: 400, detail: request };
      const fault = requestFault(request) ?? nameFault(request, device);
      if (fault !== undefined) return { kind: 'refused', status: 400, detail: fault };
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

/** What the CA gave is for this device and this key, whatever the CA thought was asked. */
function issuedFault(certificates: readonly Certificate[], spki: Uint8Array, device: Certificate): string | undefined {
  const issued = certificates.find((one) => sameBytes(one.spki, spki));
  if (issued === undefined) return 'the CA has issued for another key';
  const same = sameName(issued.subject, device.subject) && sameAlternativeNames(issued.extensions, device.extensions);
  return same && issued.basicConstraints?.ca !== true ? undefined : 'the CA has issued for other names';
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
