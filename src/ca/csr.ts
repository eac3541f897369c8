import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { CertificationRequest } from 'pkijs';
import { DEFAULT_ALGORITHMS } from '../pki/algorithms.ts';
import { pemBlocks } from '../pki/pem.ts';
import { verifySignature } from '../pki/signature.ts';
import { bitString, context, integer, pem, sequence } from './der.ts';
import { signerOf, spkiOf } from './keys.ts';
import { encodeName } from './names.ts';
import type { Subject } from './names.ts';
import { OfficeError } from './office-error.ts';

const MOST_OCTETS = 64 * 1024;

/** What of a PKCS#10 request (RFC 2986) counts: its key, which it proves to have. Names and extensions are the applicant's wishes and come from elsewhere. */
export interface Csr {
  readonly spki: Buffer;
  readonly publicKey: KeyObject;
}

/** Reads a request, PEM or DER, and verifies its signature. Throws an OfficeError; a weak key or hash is refused as well. */
export function readCsr(given: string | Uint8Array): Csr {
  const der = derOf(given);
  if (der.length > MOST_OCTETS) throw new OfficeError('invalid', `the certificate request has ${der.length} octets; expected at most ${MOST_OCTETS}`);
  const { tbs, spki, algorithm, signature } = parsed(der);
  const verdict = verifySignature({ tbs, spki, algorithm, signature }, DEFAULT_ALGORITHMS);
  if (verdict.kind !== 'valid') throw new OfficeError('invalid', `the certificate request ${verdict.kind === 'invalid' ? 'is not signed with its own key' : 'is refused'}: ${verdict.detail}`);
  const publicKey = plainKey(createPublicKey({ key: spki, format: 'der', type: 'spki' }));
  return { spki: spkiOf(publicKey), publicKey };
}

/** The one form of a key: a compressed point is the same key as one that is not, and would pass for another. */
function plainKey(key: KeyObject): KeyObject {
  return createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
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

function parsed(der: Uint8Array): { tbs: Buffer; spki: Buffer; algorithm: { oid: string; parameters?: Uint8Array }; signature: Buffer } {
  try {
    const request = CertificationRequest.fromBER(der);
    const { algorithmId: oid, algorithmParams } = request.signatureAlgorithm;
    const parameters = algorithmParams === undefined ? {} : { parameters: new Uint8Array((algorithmParams as { toBER(): ArrayBuffer }).toBER()) };
    return {
      tbs: Buffer.from(request.tbsView), spki: Buffer.from(request.subjectPublicKeyInfo.toSchema().toBER()),
      algorithm: { oid, ...parameters }, signature: Buffer.from(request.signatureValue.valueBlock.valueHexView),
    };
  } catch (error) {
    throw new OfficeError('invalid', 'the certificate request cannot be read: it is no PKCS#10', { cause: error });
  }
}

/** A request for a key of one's own, PEM: what the issuing CA takes to its root. */
export async function makeCsr(privateKey: KeyObject, subject: Subject): Promise<string> {
  const info = sequence(integer(0), encodeName(subject), spkiOf(privateKey), context(0));
  const signer = signerOf(privateKey);
  return pem('CERTIFICATE REQUEST', sequence(info, signer.algorithm, bitString(await signer.sign(info))));
}
