import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { certsOnly } from '../src/ca/certs-only.ts';
import { generateKey } from '../src/ca/keys.ts';
import { createRequest } from '../src/ca/request.ts';
import { readBundle } from '../src/pki/bundle.ts';
import { parseRequest, requestFault, sameAlternativeNames } from '../src/pki/certification-request.ts';
import { parseCertificate, PkiError } from '../src/pki/certificate.ts';
import { testPki, type TestPki } from './support/pki.ts';

let pki: TestPki;
beforeAll(async () => {
  pki = await testPki();
});

const openssl = (input: Uint8Array, ...args: readonly string[]): string => execFileSync('openssl', args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
const subjectAltName = (der: Uint8Array) => parseCertificate(der).extensions.filter(({ oid }) => oid === '2.5.29.17');

async function requestFor(keyType: 'ec' | 'ec384' | 'ec521' | 'ed25519' = 'ec', parts: { breakSignature?: boolean } = {}): Promise<Buffer> {
  const { privateKey } = await generateKey(keyType);
  return createRequest(privateKey, { subject: parseCertificate(pki.device.der).subject.der, extensions: subjectAltName(pki.device.der), ...parts });
}

describe('a certification request', () => {
  test.each(['ec', 'ec384', 'ec521', 'ed25519'] as const)('made with a key of type %s is verified by OpenSSL and by us', async (keyType) => {
    const der = await requestFor(keyType);
    const request = parseRequest(der);
    expect(requestFault(request)).toBeUndefined();
    expect(request.subject.normalized).toBe(parseCertificate(pki.device.der).subject.normalized);
    expect(sameAlternativeNames(request.extensions, parseCertificate(pki.device.der).extensions)).toBe(true);
    expect(openssl(der, 'req', '-inform', 'DER', '-noout', '-verify', '-text')).toContain('DNS:kiosk-7.devices.hospital.test');
  });

  test('of OpenSSL is read, names and all', () => {
    const der = execFileSync('openssl', ['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', '/dev/null', '-subj', '/O=Hospital/CN=x', '-addext', 'subjectAltName=DNS:b.test,DNS:a.test', '-outform', 'DER'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const request = parseRequest(der);
    expect(requestFault(request)).toBeUndefined();
    expect(request.subjectAltNames).toEqual([{ kind: 'dns', value: 'b.test' }, { kind: 'dns', value: 'a.test' }]);
  });

  test('whose signature is broken proves nothing', async () => {
    expect(requestFault(parseRequest(await requestFor('ec', { breakSignature: true })))).toContain('signature');
  });

  test('with another key in it than signed it proves nothing', async () => {
    const [der, other] = [await requestFor(), await requestFor()];
    const [mine, theirs] = [Buffer.from(parseRequest(der).spki), Buffer.from(parseRequest(other).spki)];
    const swapped = Buffer.from(der.toString('latin1').replace(mine.toString('latin1'), theirs.toString('latin1')), 'latin1');
    expect(requestFault(parseRequest(swapped))).toContain('signature');
  });

  test('is never more than a PkiError, in 10,000 mutations', async () => {
    const good = await requestFor();
    const verdicts = new Set<string>();
    const mutation = fc.record({ at: fc.nat(good.length - 1), octets: fc.uint8Array({ maxLength: 4 }), drop: fc.nat(4) });
    fc.assert(fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
      const bytes = mutations.reduce((now, { at, octets, drop }) => Buffer.concat([now.subarray(0, at), octets, now.subarray(at + drop)]), good);
      try {
        verdicts.add(requestFault(parseRequest(bytes)) === undefined ? (bytes.equals(good) ? 'unchanged' : 'accepted') : 'unsigned');
      } catch (error) {
        if (!(error instanceof PkiError)) throw error;
        verdicts.add('malformed');
      }
    }), { numRuns: 10_000 });
    expect(verdicts).toContain('malformed');
    expect(verdicts).toContain('unsigned');
    expect(verdicts).not.toContain('accepted');
  });
});

describe('a certs-only message', () => {
  test('is read by OpenSSL, and by us, with every certificate', () => {
    const der = certsOnly([pki.device.der, pki.issuing.der, pki.root.der]);
    expect(readBundle(der, 9).map(({ sha256 }) => sha256).toSorted()).toEqual([pki.device.sha256, pki.issuing.sha256, pki.root.sha256].toSorted());
    expect(openssl(der, 'pkcs7', '-inform', 'DER', '-print_certs').match(/BEGIN CERTIFICATE/g)).toHaveLength(3);
  });

  test('of OpenSSL is read', () => {
    const directory = mkdtempSync(join(tmpdir(), 'wardgate-p7-'));
    writeFileSync(join(directory, 'chain.pem'), pki.issuing.certificate + pki.root.certificate);
    const der = execFileSync('openssl', ['crl2pkcs7', '-nocrl', '-certfile', join(directory, 'chain.pem'), '-outform', 'DER']);
    rmSync(directory, { recursive: true });
    expect(readBundle(der, 9)).toHaveLength(2);
  });

  test('is never more than a PkiError, in 5,000 mutations', () => {
    const good = certsOnly([pki.device.der]);
    fc.assert(fc.property(fc.nat(good.length - 1), fc.uint8Array({ maxLength: 6 }), fc.nat(6), (at, octets, drop) => {
      try {
        readBundle(Buffer.concat([good.subarray(0, at), octets, good.subarray(at + drop)]), 9);
      } catch (error) {
        if (!(error instanceof PkiError)) throw error;
      }
    }), { numRuns: 5000 });
  });
});
