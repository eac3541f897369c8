import { context, integer, oid, sequence, setOf } from './der.ts';

/**
 * A certs-only CMS message (RFC 5652 section 5.1, degenerate: nobody signs it) around certificates in DER: a `.p7c` file, and what EST answers. The
 * set of certificates is in DER order, so the leaf need not be first.
 */
export function certsOnly(certificates: readonly Uint8Array[]): Buffer {
  const sorted = setOf(...certificates);
  const headless = sorted.subarray(headerLength(sorted));
  const data = sequence(integer(1), setOf(), sequence(oid('1.2.840.113549.1.7.1')), context(0, headless), setOf());
  return sequence(oid('1.2.840.113549.1.7.2'), context(0, data));
}

function headerLength(element: Uint8Array): number {
  const first = element[1] ?? 0;
  return 2 + (first < 0x80 ? 0 : first & 0x7f);
}
