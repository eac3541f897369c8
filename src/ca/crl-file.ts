import { join } from 'node:path';
import { writeWhole } from '../store/whole-file.ts';

/** Where a directory of a CA has the CRL of an issuing CA: `issuing.crl` that of the current one, `issuing-N.crl` that of the Nth when another one issues. */
export function crlFileOf(directory: string, generation: number, issuers: readonly { readonly generation: number; readonly state: string }[]): string {
  const current = issuers.find(({ state }) => state === 'current')?.generation;
  return join(directory, generation === current ? 'issuing.crl' : `issuing-${generation}.crl`);
}

/** Writes a CRL (DER) for everybody to read, whole or not at all. Throws what the disk says. */
export function writeCrlFile(file: string, der: Uint8Array): void {
  writeWhole(file, der, 0o644);
}
