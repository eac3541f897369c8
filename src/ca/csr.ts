import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { DEFAULT_ALGORITHMS } from '../pki/algorithms.ts';
import { parseRequest, type CertificationRequest } from '../pki/certification-request.ts';
import type { Name } from '../pki/name.ts';
import { pemBlocks } from '../pki/pem.ts';
import { verifySignature } from '../pki/signature.ts';
import { pem } from './der.ts';
import { spkiOf } from './keys.ts';
import { encodeName } from './names.ts';
import type { Subject } from './names.ts';
import { OfficeError } from './office-error.ts';
import { createRequest } from './request.ts';

/** What of a PKCS#10 request (RFC 2986) counts: its key, which it proves to have. Names and extensions are the applicant's wishes and come from elsewhere. */
export interface Csr {
  readonly spki: Buffer;
  readonly publicKey: KeyObject;
  /** What an issuing CA calls itself; of others it means nothing. */
  readonly subject: Name;
}

/** Reads a request, PEM or DER, and verifies its signature. Throws an OfficeError; a weak key or hash is refused as well. */
export function readCsr(given: string | Uint8Array): Csr {
  const request = parsed(derOf(given));
  const verdict = verifySignature({ tbs: request.info, spki: request.spki, algorithm: request.signatureAlgorithm, signature: request.signature }, DEFAULT_ALGORITHMS);
  if (verdict.kind !== 'valid') throw new OfficeError('invalid', `the certificate request ${verdict.kind === 'invalid' ? 'is not signed with its own key' : 'is refused'}: ${verdict.detail}`);
  const publicKey = plainKey(request.spki);
  return { spki: spkiOf(publicKey), publicKey, subject: request.subject };
}

/** The one form of a key: a compressed point is the same key as one that is not, and would pass for another. */
function plainKey(spki: Uint8Array): KeyObject {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    return createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  } catch (error) {
    throw new OfficeError('invalid', 'the certificate request is for a kind of key that this CA does not certify; expected EC (P-256, P-384, P-521), RSA or EdDSA', { cause: error });
  }
}

function derOf(given: string | Uint8Array): Uint8Array {
  if (typeof given !== 'string') return given;
  let blocks;
  try {
    blocks = pemBlocks(given).filter(({ label }) => label === 'CERTIFICATE REQUEST' || label === 'NEW CERTIFICATE REQUEST');
  } catch (error) {
    throw new OfficeError('invalid', `the certificate request cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const [first, second] = blocks;
  if (first === undefined || second !== undefined) throw new OfficeError('invalid', `expected one certificate request; found ${blocks.length}`);
  return first.der;
}

function parsed(der: Uint8Array): CertificationRequest {
  try {
    return parseRequest(der);
  } catch (error) {
    throw new OfficeError('invalid', `the certificate request cannot be read: it is no PKCS#10: ${(error as Error).message}`, { cause: error });
  }
}

/** A request for a key of one's own, PEM: what the issuing CA takes to its root. */
export async function makeCsr(privateKey: KeyObject, subject: Subject): Promise<string> {
  return pem('CERTIFICATE REQUEST', await createRequest(privateKey, { subject: encodeName(subject) }));
}
