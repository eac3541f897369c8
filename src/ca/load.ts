import { createHash, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { Certificate } from 'pkijs';
import type { Issued } from './issue.ts';
import { keyPairOf, keyIdentifierOf } from './keys.ts';

/**
 * An issued certificate read back from PEM: the chain file begins with the certificate itself. Throws when either does not
 * parse, or when the key is not the certificate's. Of a key that comes as a KeyObject no PEM is made: `key` is empty then.
 */
export function loadIssued(chain: string, key: string | KeyObject): Issued {
  const { privateKey } = keyPairOf(key);
  const x509 = new X509Certificate(chain);
  if (!x509.checkPrivateKey(privateKey)) throw new Error(`certificate ${x509.serialNumber.toLowerCase()}: the private key is another certificate's`);
  const der = Buffer.from(x509.raw);
  const { subject, issuer } = Certificate.fromBER(der);
  const spki = x509.publicKey.export({ type: 'spki', format: 'der' });
  const subjectDer = Buffer.from(subject.valueBeforeDecode);
  return {
    certificate: x509.toString(), der, key: typeof key === 'string' ? key : '', privateKey, chain, serialHex: x509.serialNumber.toLowerCase().replace(/^(00)+(?=..)/, ''),
    sha256: createHash('sha256').update(der).digest('hex'), subject: subjectDer, spki, keyIdentifier: keyIdentifierOf(spki),
    selfSigned: subjectDer.equals(Buffer.from(issuer.valueBeforeDecode)), notBefore: x509.validFromDate.getTime(), notAfter: x509.validToDate.getTime(),
  };
}
