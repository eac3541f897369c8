import { generateKeyPairSync, sign } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { signerOf, spkiOf } from '../src/ca/keys.ts';
import { context, integer, nullValue, oid, sequence } from '../src/ca/der.ts';
import { DEFAULT_ALGORITHMS } from '../src/pki/algorithms.ts';
import type { AlgorithmReference } from '../src/pki/algorithms.ts';
import { parseAlgorithm, parseCertificate } from '../src/pki/certificate.ts';
import { createPool, validatePath } from '../src/pki/path.ts';
import { verifySignature } from '../src/pki/signature.ts';
import { crlStatement } from '../src/revocation/crl-statement.ts';
import { readCrls } from '../src/revocation/crl-store.ts';
import { SM2_LEAF, SM2_REVOKING, SM2_ROOT } from './support/sm2.ts';

const tbs = Buffer.from('what was signed');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });

function verdict(algorithm: AlgorithmReference, signature: Uint8Array, spki: Uint8Array): string {
  return verifySignature({ tbs, algorithm, signature, spki }, DEFAULT_ALGORITHMS).kind;
}

// Issued with `openssl`, the signer's identity being 1234567812345678 (GM/T 0009); valid until 2126.
// The same root, signed with the empty identity that OpenSSL takes where it is told none.
const SM2_EMPTY = 'MIIBozCCAUmgAwIBAgIUQtBGT4lYZFb8WBmD6JaXYbQN5PIwCgYIKoEcz1UBg3UwJjERMA8GA1UECgwISG9zcGl0YWwxETAPBgNVBAMMCFNNMiBSb290MCAXDTI2MTEyMjAzMjQyNloYDzIxMjYxMDI5MDMyNDI2WjAmMREwDwYDVQQKDAhIb3NwaXRhbDERMA8GA1UEAwwIU00yIFJvb3QwWTATBgcqhkjOPQIBBggqgRzPVQGCLQNCAAQVt8iQskQ5JSkloNYBteDWqFyISKPwAJk5EaiI4iMCyO6xFXsH1tzMhQRT61ipKqIX1FcwAs+LYdzcLUQfumI2o1MwUTAdBgNVHQ4EFgQUTiBBdQVo7PYBgYnR6lONAkqzR90wHwYDVR0jBBgwFoAUTiBBdQVo7PYBgYnR6lONAkqzR90wDwYDVR0TAQH/BAUwAwEB/zAKBggqgRzPVQGDdQNIADBFAiBvw1Pov412AYghhc/BZ/LXyaRd8qlCnIK2Y5TGi8Bi9QIhAO4L3v65nyBvpd7xmgyhEKnSSQ75V1YnBjD/zsdndFVt';

const sm2 = (base64: string) => parseCertificate(Buffer.from(base64, 'base64'));

describe('verifySignature', () => {
  it('refuses a changed message, a changed signature and another key', async () => {
    const signer = signerOf(ec.privateKey);
    const signature = await signer.sign(tbs);
    const algorithm = parseAlgorithm(signer.algorithm);
    const spki = spkiOf(ec.publicKey);
    expect(verdict(algorithm, signature, spki)).toBe('valid');
    expect(verifySignature({ tbs: Buffer.from('other'), algorithm, signature, spki }, DEFAULT_ALGORITHMS).kind).toBe('invalid');
    expect(verdict(algorithm, signature.subarray(0, -1), spki)).toBe('invalid');
    expect(verdict(algorithm, signature, spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey))).toBe('invalid');
  });

  it('says invalid, and throws nothing, for an algorithm that the key is not for', async () => {
    const { algorithm } = signerOf(ec.privateKey);
    expect(verdict(parseAlgorithm(algorithm), await signerOf(rsa.privateKey).sign(tbs), spkiOf(rsa.publicKey))).toBe('invalid');
  });

  it('says invalid for a point that is not on its curve', () => {
    const spki = spkiOf(ec.publicKey);
    spki.writeUInt8(spki.readUInt8(spki.length - 1) ^ 1, spki.length - 1);
    expect(verdict(parseAlgorithm(signerOf(ec.privateKey).algorithm), Buffer.alloc(70), spki)).toBe('invalid');
  });

  it('refuses a curve given by its parameters (CVE-2020-0601)', () => {
    const spki = generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey.export({ format: 'der', type: 'spki' });
    expect(verdict(parseAlgorithm(signerOf(ec.privateKey).algorithm), Buffer.alloc(70), spki)).toBe('not_allowed');
  });

  it('refuses an RSA key whose exponent makes every message its own signature', () => {
    const modulus = Buffer.from(rsa.publicKey.export({ format: 'jwk' }).n as string, 'base64url').toString('hex');
    const key = sequence(integer(modulus), integer(1));
    const spki = sequence(sequence(oid('1.2.840.113549.1.1.1'), nullValue()), Buffer.concat([Buffer.of(0x03, 0x82, 0x01, key.length + 1 - 256, 0), key]));
    expect(verifySignature({ tbs, algorithm: { oid: '1.2.840.113549.1.1.11' }, signature: Buffer.alloc(256), spki }, DEFAULT_ALGORITHMS)).toMatchObject({ kind: 'not_allowed', detail: expect.stringContaining('exponent') });
  });

  it('refuses RSASSA-PSS with its defaults, which are SHA-1, and with two different hashes', () => {
    const pss = (parameters: Uint8Array): AlgorithmReference => parseAlgorithm(sequence(oid('1.2.840.113549.1.1.10'), parameters));
    const sha256 = sequence(oid('2.16.840.1.101.3.4.2.1'));
    const signature = sign('sha256', tbs, { key: rsa.privateKey, padding: 6, saltLength: 32 });
    expect(verdict(pss(sequence()), signature, spkiOf(rsa.publicKey))).toBe('not_allowed');
    expect(verdict(pss(sequence(context(0, sha256), context(2, integer(32)))), signature, spkiOf(rsa.publicKey))).toBe('not_allowed');
    const mask = context(1, sequence(oid('1.2.840.113549.1.1.8'), sha256));
    expect(verdict(pss(sequence(context(0, sha256), mask, context(2, integer(32)))), signature, spkiOf(rsa.publicKey))).toBe('valid');
    expect(verdict(pss(sequence(context(0, sha256), mask, context(2, integer(20)))), signature, spkiOf(rsa.publicKey))).toBe('invalid');
  });

  it('refuses an algorithm it does not know', () => {
    expect(verdict({ oid: '1.2.3' }, Buffer.alloc(64), spkiOf(ec.publicKey))).toBe('not_allowed');
  });
});

describe('SM2 with SM3', () => {
  it('verifies the example of GB/T 32918.5 appendix A', () => {
    const spki = Buffer.from('3059301306072a8648ce3d020106082a811ccf5501822d0342000409f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13', 'hex');
    const signature = Buffer.from('3046022100f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3022100b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa', 'hex');
    const algorithm = { oid: '1.2.156.10197.1.501' };
    const check = (message: string) => verifySignature({ tbs: Buffer.from(message), algorithm, signature, spki }, DEFAULT_ALGORITHMS).kind;
    expect(check('message digest')).toBe('valid');
    expect(check('message digesT')).toBe('invalid');
  });

  it('validates a path', () => {
    const pool = createPool([sm2(SM2_ROOT)], []);
    expect(validatePath(sm2(SM2_LEAF), pool, { now: Date.UTC(2030, 0, 1), purpose: 'client' }).kind).toBe('valid');
  });

  it('verifies under the usual identity of the signer, and under none', () => {
    for (const root of [sm2(SM2_ROOT), sm2(SM2_EMPTY)]) {
      const { tbs: signed, signatureAlgorithm: algorithm, signature, spki } = root;
      expect(verifySignature({ tbs: signed, algorithm, signature, spki }, DEFAULT_ALGORITHMS).kind).toBe('valid');
      const changed = Uint8Array.from(signed);
      changed[30] = (changed[30] as number) ^ 1;
      expect(verifySignature({ tbs: changed, algorithm, signature, spki }, DEFAULT_ALGORITHMS).kind).toBe('invalid');
    }
  });

  it('proves a CRL, and one that was changed proves nothing', async () => {
    const issuer = sm2(SM2_REVOKING.root);
    const now = Date.UTC(2030, 0, 1);
    const said = async (crl: Uint8Array): Promise<readonly string[]> => {
      const { handles } = await readCrls({ files: [{ file: 'sm2.crl', bytes: crl }], realms: [{ anchors: [issuer.der], intermediates: [] }], now });
      return [SM2_REVOKING.revoked, SM2_REVOKING.good].map((leaf) => crlStatement(handles, sm2(leaf), issuer, now, { skew: 0, anchor: issuer, check: 'leaf' }).kind);
    };
    const crl = Buffer.from(SM2_REVOKING.crl, 'base64');
    expect(await said(crl)).toEqual(['revoked', 'good']);
    // The number of the certificate that was revoked.
    crl.writeUInt8(0x35, crl.indexOf(Buffer.from('02021234', 'hex')) + 3);
    expect(await said(crl)).toEqual(['unavailable', 'unavailable']);
  });

  it.each(['3006020100020100', '300602010102017f', '3006020101020100', '30050201010101', '3045022100fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d5412302207f'])('refuses a signature out of range or shape: %s', (hex) => {
    const { tbs: signed, signatureAlgorithm: algorithm, spki } = sm2(SM2_ROOT);
    expect(verifySignature({ tbs: signed, algorithm, signature: Buffer.from(hex, 'hex'), spki }, DEFAULT_ALGORITHMS).kind).toBe('invalid');
  });
});
