import { execFileSync } from 'node:child_process';
import { Constructed, Integer, Null, ObjectIdentifier, OctetString, Sequence, type BaseBlock } from 'asn1js';
import { generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { openKey, openPkcs12 } from '../src/config/own-keys.ts';
import { derivationBudget } from '../src/pki/password-encryption.ts';

const PASSPHRASE = 'correct horse battery';
const oid = (value: string): BaseBlock => new ObjectIdentifier({ value });
const sequence = (...value: BaseBlock[]): BaseBlock => new Sequence({ value });
const octets = (length: number): BaseBlock => new OctetString({ valueHex: new Uint8Array(length).buffer });
const holding = (content: BaseBlock): BaseBlock => new OctetString({ valueHex: content.toBER() });
const tagged = (value: BaseBlock): BaseBlock => new Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [value] });
const integer = (value: number): BaseBlock => new Integer({ value });
const data = (content: BaseBlock): BaseBlock => sequence(oid('1.2.840.113549.1.7.1'), tagged(holding(content)));
const sha256 = (): BaseBlock => sequence(oid('1.2.840.113549.2.9'), new Null());
const pbkdf2 = (rounds: number, length: number): BaseBlock => sequence(oid('1.2.840.113549.1.5.12'), sequence(octets(8), integer(rounds), integer(length), sha256()));
const aes = (): BaseBlock => sequence(oid('2.16.840.1.101.3.4.1.42'), octets(16));
const pbes2 = (rounds: number): BaseBlock => sequence(oid('1.2.840.113549.1.5.13'), sequence(pbkdf2(rounds, 32), aes()));
const oldForm = (rounds: number): BaseBlock => sequence(oid('1.2.840.113549.1.12.1.3'), sequence(octets(8), integer(rounds)));
const certificate = (): BaseBlock => sequence(oid('1.2.840.113549.1.12.10.1.3'), tagged(sequence(oid('1.2.840.113549.1.9.22.1'), tagged(octets(16)))));
const mac = (algorithm: BaseBlock): BaseBlock => sequence(sequence(algorithm, octets(32)), octets(8), integer(1));
/** A shrouded key bag. */
const key = (encryption: BaseBlock): BaseBlock => sequence(oid('1.2.840.113549.1.12.10.1.2'), tagged(sequence(encryption, octets(48))));

function pkcs12(bags: BaseBlock[], ...more: BaseBlock[]): Buffer {
  return Buffer.from(sequence(integer(3), data(sequence(data(sequence(...bags)))), ...more).toBER());
}

const PBMAC1 = sequence(oid('1.2.840.113549.1.5.14'), sequence(pbkdf2(2_000_000_000, 2_000_000_000), sha256()));

test.each([
  ['a key of two thousand million rounds', pkcs12([key(pbes2(2_000_000_000))])],
  ['old derivation of a million rounds', pkcs12([key(oldForm(1_000_000))])],
  ['a MAC whose key would be gigabytes long (PBMAC1)', pkcs12([], mac(PBMAC1))],
  ['certificates by the thousand, for a chain to be looked for among them', pkcs12(Array.from({ length: 5_000 }, certificate))],
])('a PKCS#12 file that is made to keep the gateway at work is refused before the work is done: %s', (_what, file) => {
  const began = process.cpuUsage();
  expect(openPkcs12(file, 'hostile.p12', PASSPHRASE)).toMatchObject({ kind: 'fault' });
  const { user } = process.cpuUsage(began);
  expect(user / 1_000).toBeLessThan(4_500);
});

test('what is bounded is the work for the whole of a file, and not for each of its parts', () => {
  const spend = derivationBudget();
  spend(9_000_000);
  expect(() => spend(9_000_000)).toThrow('asks for more than');
});

test('an encrypted PEM that asks for hours of PBKDF2 is refused, and not given to OpenSSL, which knows no bound', () => {
  const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
  const encrypted = (rounds: number): string => execFileSync('openssl', ['pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-iter', String(rounds), '-passout', `pass:${PASSPHRASE}`], { input: pem, encoding: 'utf8' });
  const fine = encrypted(2048);
  expect(openKey(Buffer.from(fine), 'fine.key', PASSPHRASE)).toMatchObject({ kind: 'ok' });
  const body = (algorithm: BaseBlock): string => `-----BEGIN ENCRYPTED PRIVATE KEY-----\n${(Buffer.from(sequence(algorithm, octets(48)).toBER()).toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ENCRYPTED PRIVATE KEY-----\n`;
  const hostile = body(pbes2(0x7fff_ffff));
  for (const text of [hostile, `${fine}${hostile}`, hostile.replace('-----END', ' \n-----END')]) {
    expect(openKey(Buffer.from(text), 'hostile.key', PASSPHRASE)).toMatchObject({ kind: 'fault', at: 'file', message: expect.stringContaining('cannot be read') });
  }
});
