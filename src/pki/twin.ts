import { hash } from 'node:crypto';
import { DerCursor, readSingle, TAG, toHex } from './der.ts';
import type { Certificate } from './certificate.ts';

/** Orders of the curves that certificates are signed on (FIPS 186-5, SP 800-186): P-256, P-384, P-521. */
const ORDERS = [
  0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973n,
  BigInt(`0x1${'f'.repeat(65)}a51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409`),
];

/**
 * The one other certificate that the same ECDSA signature makes, DER: where (r, s) is valid, so is (r, n - s), and whoever has the first can write down the second
 * without any key. Undefined where there is none: signatures of other kinds have one form.
 */
export function twinOf({ tbs, signatureAlgorithm, signature }: Pick<Certificate, 'tbs' | 'signatureAlgorithm' | 'signature'>): Buffer | undefined {
  const pair = readPair(signature);
  if (pair === undefined) return undefined;
  const [r, s] = pair;
  const order = ORDERS.find((one) => r < one && s < one);
  if (order === undefined) return undefined;
  const other = tlv(TAG.sequence, integer(r), integer(order - s));
  return tlv(TAG.sequence, tbs, signatureAlgorithm.der, tlv(TAG.bitString, Buffer.alloc(1), other));
}

const known = new WeakMap<Certificate, readonly string[]>();

/** The fingerprints of a certificate (SHA-256, lowercase hex): its own first, and that of its twin. What one of them is said of is said of it. */
export function fingerprintsOf(certificate: Certificate): readonly string[] {
  let fingerprints = known.get(certificate);
  if (fingerprints === undefined) {
    const twin = twinOf(certificate);
    fingerprints = twin === undefined ? [certificate.sha256] : [certificate.sha256, hash('sha256', twin, 'hex')];
    known.set(certificate, fingerprints);
  }
  return fingerprints;
}

/** What a certificate and its twin are counted under: whoever writes the other form down must not have every limit twice. */
export function countedAs(certificate: Certificate): string {
  const [own, twin = own] = fingerprintsOf(certificate) as readonly [string, string?];
  return twin < own ? twin : own;
}

function readPair(signature: Uint8Array): readonly [bigint, bigint] | undefined {
  try {
    const cursor = new DerCursor(readSingle(signature, TAG.sequence, 'signature').content, 'signature');
    const [r, s] = [cursor.expect(TAG.integer), cursor.expect(TAG.integer)].map(({ content }) => BigInt(`0x${toHex(content)}`)) as [bigint, bigint];
    cursor.end();
    return [r, s];
  } catch {
    // One of RSA or EdDSA.
    return undefined;
  }
}

function integer(value: bigint): Buffer {
  const hex = value.toString(16);
  const octets = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
  return tlv(TAG.integer, ...((octets[0] as number) >= 0x80 ? [Buffer.alloc(1)] : []), octets);
}

function tlv(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : length < 0x1_0000 ? [0x82, length >> 8, length & 0xff] : [0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}
