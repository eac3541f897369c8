import type { KeyObject } from 'node:crypto';
import { bitString, context, integer, oid, sequence, setOf } from './der.ts';
import { encodeExtension } from './extensions.ts';
import type { RawExtension } from './extensions.ts';
import { signerOf, spkiOf } from './keys.ts';

export interface RequestOptions {
  /** A Name, DER. */
  readonly subject: Uint8Array;
  /** What the certificate should have, such as subjectAltName. */
  readonly extensions?: readonly RawExtension[];
  readonly breakSignature?: boolean;
}

/** A certification request (PKCS#10, RFC 2986) signed with the key it is for, DER. */
export async function createRequest(key: KeyObject, options: RequestOptions): Promise<Buffer> {
  const extensions = options.extensions ?? [];
  const attributes = extensions.length === 0
    ? []
    : [sequence(oid('1.2.840.113549.1.9.14'), setOf(sequence(...extensions.map(encodeExtension))))];
  const info = sequence(integer(0), options.subject, spkiOf(key), context(0, ...attributes));
  const signer = signerOf(key);
  const signature = await signer.sign(info);
  if (options.breakSignature === true) signature.writeUInt8(signature.readUInt8(signature.length - 1) ^ 1, signature.length - 1);
  return sequence(info, signer.algorithm, bitString(signature));
}
