import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { issueCrl, testPki, writePki, type PkiFiles, type TestPki } from '../test/support/pki.ts';
import { crlPem } from './crl.ts';

/** The files every server of the bench works with. */
export interface BenchPki extends PkiFiles {
  readonly pki: TestPki;
}

/**
 * One PKI for all: what `writePki` writes, and in other servers' forms: `clients-ca.pem` (root and issuing), `crls.pem` (both CRLs),
 * `server.pem.ecdsa`, `server.pem.rsa` and `gateway.bundle` (certificate and key in one file). The CRL revokes one doctor and
 * a thousand others, as a hospital's would.
 */
export async function writeBenchPki(directory: string): Promise<BenchPki> {
  const pki = await testPki();
  const files = await writePki(pki, directory);
  const others = Array.from({ length: 1_000 }, (_, index) => ({ serial: (0x4000_0000 + index).toString(16) }));
  const crls = {
    issuing: await issueCrl(pki.issuing, { revoked: [{ serial: pki.revokedDoctor.serialHex, reason: 'keyCompromise' }, ...others] }),
    root: await issueCrl(pki.root, {}),
  };
  const write = (name: string, content: string | Uint8Array): Promise<void> => writeFile(join(directory, name), content, { mode: 0o600 });
  const joined = async (...names: readonly string[]): Promise<string> => (await Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')))).join('');
  await Promise.all([
    write('issuing.crl', crls.issuing),
    write('root.crl', crls.root),
    write('crls.pem', crlPem(crls.issuing) + crlPem(crls.root)),
    write('clients-ca.pem', await joined('root.pem', 'issuing.pem')),
    write('server.pem.ecdsa', await joined('server-ec.pem', 'server-ec.key')),
    write('server.pem.rsa', await joined('server-rsa.pem', 'server-rsa.key')),
    write('gateway.bundle', await joined('gateway.pem', 'gateway.key')),
  ]);
  return { ...files, pki };
}
