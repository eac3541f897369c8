import { BmpString, OctetString } from 'asn1js';
import { Attribute, AuthenticatedSafe, CertBag, PFX, PKCS8ShroudedKeyBag, PrivateKeyInfo, SafeBag, SafeContents } from 'pkijs';
import type { Issued } from './issue.ts';

const bag = { shroudedKey: '1.2.840.113549.1.12.10.1.2', certificate: '1.2.840.113549.1.12.10.1.3' } as const;
const x509Certificate = '1.2.840.113549.1.9.22.1';
const friendlyName = '1.2.840.113549.1.9.20';
const localKeyId = '1.2.840.113549.1.9.21';

export interface Pkcs12Options {
  readonly password: string;
  /** What the browser's list shows. */
  readonly name: string;
  /** Further certificates, usually the issuing authorities. */
  readonly certificates?: readonly { readonly der: Uint8Array }[];
  /** PBKDF2 rounds for the key and the certificates, and rounds of the MAC; default 100,000. */
  readonly iterations?: number;
}

/** A PKCS#12 file (RFC 7292) as browsers import it: AES-256-CBC under PBES2 for key and certificates, HMAC-SHA-256 over both. */
export async function toPkcs12(issued: Pick<Issued, 'der' | 'privateKey' | 'keyIdentifier'>, options: Pkcs12Options): Promise<Buffer> {
  const iterations = options.iterations ?? 100_000;
  const password = arrayBuffer(Buffer.from(options.password, 'utf8'));
  const encryption = {
    password, iterationCount: iterations, hmacHashAlgorithm: 'SHA-256', contentEncryptionAlgorithm: { name: 'AES-CBC', length: 256 },
  };
  const own = ownAttributes(issued, options.name);
  const shrouded = new PKCS8ShroudedKeyBag({ parsedValue: PrivateKeyInfo.fromBER(issued.privateKey.export({ type: 'pkcs8', format: 'der' })) });
  await shrouded.makeInternalValues(encryption);
  const certificates = [
    certificateBag(issued.der, own),
    ...(options.certificates ?? []).map(({ der }) => certificateBag(der, [])),
  ];
  const safe = new AuthenticatedSafe({
    parsedValue: {
      safeContents: [
        { privacyMode: 0, value: new SafeContents({ safeBags: [new SafeBag({ bagId: bag.shroudedKey, bagValue: shrouded, bagAttributes: own })] }) },
        { privacyMode: 1, value: new SafeContents({ safeBags: certificates }) },
      ],
    },
  });
  await safe.makeInternalValues({ safeContents: [{}, encryption] });
  const pfx = new PFX({ parsedValue: { integrityMode: 0, authenticatedSafe: safe } });
  await pfx.makeInternalValues({ password, iterations, pbkdf2HashAlgorithm: { name: 'SHA-256' }, hmacHashAlgorithm: 'SHA-256' });
  return Buffer.from(pfx.toSchema().toBER());
}

/** Browsers pair a key with its certificate by localKeyID; the SHA-1 of the key bits serves, any equal octets would. */
function ownAttributes(issued: Pick<Issued, 'keyIdentifier'>, name: string): Attribute[] {
  return [
    new Attribute({ type: friendlyName, values: [new BmpString({ value: name })] }),
    new Attribute({ type: localKeyId, values: [new OctetString({ valueHex: arrayBuffer(issued.keyIdentifier) })] }),
  ];
}

function certificateBag(der: Uint8Array, attributes: Attribute[]): SafeBag {
  const value = new CertBag({ certId: x509Certificate, certValue: new OctetString({ valueHex: arrayBuffer(der) }) });
  return new SafeBag({ bagId: bag.certificate, bagValue: value, ...(attributes.length === 0 ? {} : { bagAttributes: attributes }) });
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
