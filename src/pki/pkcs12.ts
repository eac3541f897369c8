import { timingSafeEqual } from 'node:crypto';
import { Constructed, fromBER, OctetString, Primitive, Sequence, type BaseBlock } from 'asn1js';
import { algorithmOf, children, damaged, decrypt, derivationBudget, macOf, number, objectIdentifier, octets, ProtectionError, weakness, type Spend } from './password-encryption.ts';

/** What a PKCS#12 file holds that a gateway can use, in DER. */
export interface Pkcs12 {
  /** PKCS#8, unencrypted. */
  readonly keys: readonly Uint8Array[];
  readonly certificates: readonly Uint8Array[];
  /** What its key is encrypted by, where that is out of date. */
  readonly weak?: string;
}

const OID = {
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  keyBag: '1.2.840.113549.1.12.10.1.1',
  shroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certificateBag: '1.2.840.113549.1.12.10.1.3',
  nestedBags: '1.2.840.113549.1.12.10.1.6',
  x509: '1.2.840.113549.1.9.22.1',
} as const;

const MOST_NESTED = 4;
/** A chain and what a key store has beside it: chains are looked for among them. */
const MOST_CERTIFICATES = 200;

interface Opening {
  readonly passphrase: string;
  readonly spend: Spend;
}

interface Found {
  readonly keys: Uint8Array[];
  readonly certificates: Uint8Array[];
  weak?: string;
}

/**
 * Opens a PKCS#12 file (RFC 7292): AES under PBES2, and the triple DES and RC2 of older ones. Read as BER, since some programs write
 * that. A wrong passphrase shows in the MAC. Throws a ProtectionError.
 */
export function readPkcs12(bytes: Uint8Array, passphrase: string): Pkcs12 {
  const [, authSafe, mac] = children(parse(bytes));
  const [type, content] = children(authSafe);
  if (objectIdentifier(type) !== OID.data) throw new ProtectionError('unsupported', 'it is signed, and not protected by a passphrase');
  const safe = octets(children(content)[0]);
  const opening: Opening = { passphrase, spend: derivationBudget() };
  if (mac !== undefined) checkMac(mac, safe, opening);
  const found: Found = { keys: [], certificates: [] };
  for (const info of children(parse(safe))) takeBags(parse(openSafe(info, opening)), opening, found, 0);
  return found;
}

function checkMac(mac: BaseBlock, safe: Uint8Array, { passphrase, spend }: Opening): void {
  const [digestInfo, salt, iterations] = children(mac);
  const [algorithm, digest] = children(digestInfo);
  const expected = macOf(algorithmOf(algorithm), octets(salt), iterations === undefined ? 1 : number(iterations), safe, passphrase, spend);
  if (expected === undefined) throw new ProtectionError('unsupported', `its MAC is made by ${algorithmOf(algorithm).oid}`);
  const given = octets(digest);
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw new ProtectionError('passphrase', 'the passphrase does not open it');
}

function openSafe(info: BaseBlock, { passphrase, spend }: Opening): Uint8Array {
  const [type, content] = children(info);
  const kind = objectIdentifier(type);
  if (kind === OID.data) return octets(children(content)[0]);
  if (kind !== OID.encryptedData) throw new ProtectionError('unsupported', 'it is encrypted to a key, and not under a passphrase');
  const [, encrypted] = children(children(content)[0]);
  const [, algorithm, data] = children(encrypted);
  return decrypt(algorithmOf(algorithm), implicitOctets(data), passphrase, spend);
}

function takeBags(bags: BaseBlock, opening: Opening, found: Found, depth: number): void {
  if (depth > MOST_NESTED) throw damaged();
  for (const bag of children(bags)) {
    const [type, content] = children(bag);
    const value = children(content)[0];
    const kind = objectIdentifier(type);
    if (kind === OID.nestedBags && value !== undefined) takeBags(value, opening, found, depth + 1);
    else if (kind === OID.keyBag && value !== undefined) found.keys.push(new Uint8Array(value.toBER()));
    else if (kind === OID.shroudedKeyBag) found.keys.push(openKey(value, opening, found));
    else if (kind === OID.certificateBag) takeCertificate(value, found);
  }
}

function openKey(value: BaseBlock | undefined, { passphrase, spend }: Opening, found: Found): Uint8Array {
  const [algorithm, data] = children(value);
  const weak = weakness(algorithmOf(algorithm));
  if (weak !== undefined) found.weak = weak;
  return decrypt(algorithmOf(algorithm), octets(data), passphrase, spend);
}

function takeCertificate(value: BaseBlock | undefined, found: Found): void {
  const [type, content] = children(value);
  if (found.certificates.length === MOST_CERTIFICATES) throw new ProtectionError('unsupported', `it holds more than ${MOST_CERTIFICATES} certificates`);
  if (objectIdentifier(type) === OID.x509) found.certificates.push(octets(children(content)[0]));
}

/** [0] IMPLICIT OCTET STRING: in one piece, or in several. */
function implicitOctets(block: BaseBlock | undefined): Uint8Array {
  if (block instanceof Primitive) return new Uint8Array(block.valueBlock.valueHexView);
  if (block instanceof Constructed) return Buffer.concat(children(block).map(octets));
  if (block instanceof OctetString) return octets(block);
  throw damaged();
}

function parse(bytes: Uint8Array): BaseBlock {
  // A copy: what is read points into its own memory, and a Buffer's may be shared.
  const { offset, result } = fromBER(new Uint8Array(bytes).buffer);
  if (offset === -1 || !(result instanceof Sequence)) throw damaged();
  return result;
}
