import { z } from 'zod';
import { filePath } from '../values.ts';
import { some } from './shapes.ts';

const word = z.string({ error: 'expected text' }).regex(/^[^\0]*$/, { error: 'expected text' });

/** A certificate of the gateway's own and its private key, in every place that has one; which of them go together is checked beside. */
export function ownPair(certificate: string) {
  return {
    certificate: filePath.describe(`PEM file of ${certificate}, then its intermediates.`).exactOptional(),
    key: filePath.describe('PEM file of its private key, which may be encrypted; others must not be able to read it, nor the group to write it. pkcs11:URI: a key that stays in a token (docs/keys.md).').exactOptional(),
    pkcs12: filePath.describe('PKCS#12 file (.p12, .pfx) of both, with the intermediates, in place of certificate and key; protected like a key.').exactOptional(),
    passphrase_file: filePath.describe('File of one line, the passphrase that opens key or pkcs12; protected like a key.').exactOptional(),
    passphrase_command: some(word, 'expected a list of the program and its arguments').describe('Program that writes the passphrase to stdout, and its arguments; run without a shell in the directory of the configuration, within 10 s, at each start, reload and change of a certificate.').exactOptional(),
  };
}
