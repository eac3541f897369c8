import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseCertificate } from '../src/pki/certificate.ts';
import type { Certificate } from '../src/pki/certificate.ts';
import { parseOcspResponse } from '../src/pki/ocsp-response.ts';
import { buildOcspRequest, judgeOcspResponse } from '../src/pki/ocsp.ts';
import type { OcspQuestion } from '../src/pki/ocsp.ts';
import { PkiError } from '../src/pki/der.ts';
import { answerOcsp, createAuthority, issueCertificate, ocspNoCheck, readOcspRequest, unknownExtension } from './support/pki.ts';
import type { Authority, Issued, OcspAnswerOptions } from './support/pki.ts';

const NOW = Date.now();
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let ca: Authority;
let otherCa: Authority;
let client: Issued;
let certificate: Certificate;
let issuer: Certificate;

beforeAll(async () => {
  ca = await createAuthority({ name: [['CN', 'Status CA'], ['O', 'Hospital']] });
  otherCa = await createAuthority({ name: 'Another CA' });
  client = await issueCertificate(ca, { subject: [['CN', 'Dr Wang']] });
  certificate = parseCertificate(client.der);
  issuer = parseCertificate(ca.der);
});

const good = (): { kind: 'good' } => ({ kind: 'good' });

/** The judgement of an answer made with these options, to a request with `nonce`. */
async function judged(options: Partial<OcspAnswerOptions> = {}, question: Partial<OcspQuestion> = {}, about = certificate) {
  const { nonce } = question;
  const request = buildOcspRequest(about, issuer, nonce);
  const response = await answerOcsp(request, { authority: ca, statusOf: good, producedAt: NOW, thisUpdate: NOW - MINUTE, ...options });
  return judgeOcspResponse(response, { certificate, issuer, now: NOW, skew: MINUTE, maxAge: 10 * MINUTE, ...question });
}

async function delegate(options: Partial<Parameters<typeof issueCertificate>[1]> = {}, authority = ca): Promise<Issued> {
  return issueCertificate(authority, { subject: [['CN', 'Responder']], eku: ['OCSPSigning'], extensions: [ocspNoCheck()], ...options });
}

describe('an OCSP request', () => {
  it('names the certificate by both hashes of its issuer and its serial, and carries the nonce', () => {
    const nonce = randomBytes(32);
    const request = readOcspRequest(buildOcspRequest(certificate, issuer, nonce));
    expect(request.certificates).toHaveLength(1);
    expect(request.certificates[0]).toMatchObject({ serialHex: client.serialHex, hashAlgorithm: '1.3.14.3.2.26' });
    expect(request.certificates[0]?.issuerKeyHash.equals(ca.keyIdentifier)).toBe(true);
    expect(request.nonce?.subarray(2).equals(nonce)).toBe(true);
  });

  it('carries no nonce when there is none', () => {
    expect(readOcspRequest(buildOcspRequest(certificate, issuer))).not.toHaveProperty('nonce');
  });
});

describe('an OCSP answer', () => {
  it('is good when the issuer itself signed it', async () => {
    const nextUpdate = Math.floor((NOW + HOUR) / 1000) * 1000;
    const thisUpdate = Math.floor((NOW - MINUTE) / 1000) * 1000;
    expect(await judged({ nextUpdate, thisUpdate })).toEqual({ kind: 'good', thisUpdate, nextUpdate, validUntil: NOW + 10 * MINUTE });
  });

  it.each(['key', 'name'] as const)('is good when a delegate signed it that is named by %s', async (responderId) => {
    expect(await judged({ delegate: await delegate(), responderId })).toMatchObject({ kind: 'good' });
  });

  it('says when and why a certificate was revoked', async () => {
    const at = Math.floor((NOW - HOUR) / 1000) * 1000;
    const answer = await judged({ statusOf: () => ({ kind: 'revoked', at, reason: 'keyCompromise' }) });
    expect(answer).toMatchObject({ kind: 'revoked', revokedAt: at, code: 1 });
  });

  it('holds until nextUpdate, max_age or the end of the delegate, whichever is first', async () => {
    const second = (at: number): number => Math.floor(at / 1000) * 1000;
    const thisUpdate = second(NOW - MINUTE);
    const skew = 0;
    expect(await judged({ thisUpdate, nextUpdate: second(NOW + MINUTE) }, { skew })).toMatchObject({ validUntil: second(NOW + MINUTE) });
    expect(await judged({ thisUpdate, nextUpdate: null }, { skew, maxAge: 2 * MINUTE })).toMatchObject({ validUntil: thisUpdate + 2 * MINUTE });
    const brief = await delegate({ notAfter: second(NOW + 30_000), notBefore: NOW - HOUR });
    expect(await judged({ thisUpdate, delegate: brief }, { skew })).toMatchObject({ validUntil: second(NOW + 30_000) });
  });

  it('counts max_age from its arrival when thisUpdate lies in our future', async () => {
    expect(await judged({ thisUpdate: NOW + 30_000 }, { maxAge: 2 * MINUTE })).toMatchObject({ kind: 'good', validUntil: NOW + 2 * MINUTE });
  });

  it('still counts as a revocation after it expired', async () => {
    const old = { thisUpdate: NOW - 3 * HOUR, nextUpdate: NOW - 2 * HOUR };
    const answer = await judged({ ...old, statusOf: () => ({ kind: 'revoked', at: NOW - 4 * HOUR }) });
    expect(answer.kind).toBe('revoked');
  });
});

// TRAPS 19: every way in which an answer is not evidence ends as unavailable, never as good.
describe('an OCSP answer that proves nothing', () => {
  it.each([
    ['whose signature is broken', { breakSignature: true }, /signature/],
    ['that the responder does not know', { statusOf: () => ({ kind: 'unknown' as const }) }, /does not know/],
    ['from tomorrow', { thisUpdate: NOW + 24 * HOUR, nextUpdate: NOW + 48 * HOUR }, /future/],
    ['produced tomorrow', { producedAt: NOW + 24 * HOUR }, /future/],
    ['that has expired', { thisUpdate: NOW - 3 * HOUR, nextUpdate: NOW - 2 * HOUR }, /expired/],
    ['older than max_age and without nextUpdate', { thisUpdate: NOW - 11 * MINUTE, nextUpdate: null }, /max_age/],
    ['tryLater', { failure: 'tryLater' as const }, /tryLater/],
    ['unauthorized', { failure: 'unauthorized' as const }, /unauthorized/],
    ['with a critical extension we do not know', { extensions: [unknownExtension(true)] }, /critical/],
    ['with a critical entry extension we do not know', { singleExtensions: [unknownExtension(true)] }, /critical/],
    ['signed with SHA-1', { signatureHash: 'sha1' as const }, /sha1|signature/],
  ])('%s', async (_, options, detail) => {
    expect(await judged(options)).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(detail) });
  });

  it('signed by another CA of the same name', async () => {
    const impostor = await createAuthority({ name: [['CN', 'Status CA'], ['O', 'Hospital']] });
    const answer = await judged({ authority: impostor, anyIssuer: true, responderId: 'name', certificates: [impostor.der] });
    expect(answer).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/signature|OCSPSigning|issuer/) });
  });

  it('signed by the client whose status it is', async () => {
    const answer = await judged({ delegate: client });
    expect(answer).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/OCSPSigning/) });
  });

  it.each([
    ['without the extended key usage', { eku: ['clientAuth'] }, /OCSPSigning/],
    ['with any extended key usage instead', { eku: ['any'] }, /OCSPSigning/],
    ['without nocheck', { extensions: [] }, /nocheck/],
    ['that has expired', { notBefore: NOW - 3 * HOUR, notAfter: NOW - 2 * HOUR }, /expired/],
    ['that is not valid yet', { notBefore: NOW + 2 * HOUR, notAfter: NOW + 3 * HOUR }, /not yet valid/],
    ['whose key may not sign', { keyUsage: ['keyEncipherment' as const] }, /key usage/],
    ['with a critical extension we do not know', { extensions: [ocspNoCheck(), unknownExtension(true)] }, /critical/],
    ['whose own signature is broken', { breakSignature: true }, /not issued by/],
  ])('signed by a delegate %s', async (_, options, detail) => {
    expect(await judged({ delegate: await delegate(options) })).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(detail) });
  });

  it('signed by a delegate of another CA', async () => {
    const answer = await judged({ delegate: await delegate({}, otherCa) });
    expect(answer).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/another CA/) });
  });

  it('signed by a delegate that is itself known to be revoked, nocheck or not', async () => {
    const answer = await judged({ delegate: await delegate() }, { delegateStatus: () => 'revoked' });
    expect(answer).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/revoked/) });
  });

  it('is good again when a delegate without nocheck is known to be good', async () => {
    const plain = await delegate({ extensions: [] });
    expect(await judged({ delegate: plain }, { delegateStatus: () => 'good' })).toMatchObject({ kind: 'good' });
  });

  it('about another certificate of the same issuer', async () => {
    const other = parseCertificate((await issueCertificate(ca, { subject: [['CN', 'Other']] })).der);
    expect(await judged({}, {}, other)).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/another certificate/) });
  });

  it.each(['name', 'key'])('about the same serial of an issuer with another %s', async (which) => {
    const editCertId = (certId: Buffer): Buffer => {
      const edited = Buffer.from(certId);
      const at = edited.indexOf(which === 'name' ? issuerNameHash() : ca.keyIdentifier);
      expect(at).toBeGreaterThan(0);
      edited[at] = edited[at]! ^ 1;
      return edited;
    };
    expect(await judged({ editCertId })).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/another certificate/) });
  });

  it('with another nonce: a good answer replayed after the revocation', async () => {
    const nonce = randomBytes(32);
    expect(await judged({ nonce: 'echo' }, { nonce })).toMatchObject({ kind: 'good' });
    expect(await judged({ nonce: randomBytes(32) }, { nonce })).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/replay/) });
  });

  it('without our nonce, where that is required', async () => {
    const nonce = randomBytes(32);
    expect(await judged({ nonce: 'omit' }, { nonce })).toMatchObject({ kind: 'good' });
    expect(await judged({ nonce: 'omit' }, { nonce, nonceRequired: true })).toMatchObject({ kind: 'unavailable' });
  });
});

function issuerNameHash(): Buffer {
  const [asked] = readOcspRequest(buildOcspRequest(certificate, issuer)).certificates;
  return asked!.issuerNameHash;
}

describe('the OCSP parser', () => {
  it('throws nothing but PkiError, and the judge nothing, whatever the octets', async () => {
    const nonce = randomBytes(32);
    const response = await answerOcsp(buildOcspRequest(certificate, issuer, nonce), {
      authority: ca, delegate: await delegate(), statusOf: () => ({ kind: 'revoked', reason: 'superseded' }), thisUpdate: NOW - MINUTE,
    });
    const question = { certificate, issuer, nonce, now: NOW, skew: MINUTE, maxAge: HOUR };
    const change = fc.record({ at: fc.nat(response.length - 1), octet: fc.nat(255) });
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const mutated = Uint8Array.from(response);
      for (const { at, octet } of changes) mutated[at] = octet;
      expect(judgeOcspResponse(mutated, question).kind).not.toBe('good');
      try {
        parseOcspResponse(mutated);
      } catch (error) {
        expect(error).toBeInstanceOf(PkiError);
      }
    }), { numRuns: 1000 });
  });

  it('never takes a good answer with any octet changed for a good one', async () => {
    const response = await answerOcsp(buildOcspRequest(certificate, issuer), { authority: ca, statusOf: good, thisUpdate: NOW - MINUTE, producedAt: NOW });
    const question = { certificate, issuer, now: NOW, skew: MINUTE, maxAge: HOUR };
    expect(judgeOcspResponse(response, question).kind).toBe('good');
    for (let at = 0; at < response.length; at += 1) {
      const mutated = Uint8Array.from(response);
      mutated[at] = mutated[at]! ^ 0x01;
      expect(judgeOcspResponse(mutated, question).kind, `octet ${at}`).toBe('unavailable');
    }
  });

  it('takes the answers of the openssl responder to our requests', () => {
    const directory = mkdtempSync(join(tmpdir(), 'wardgate-ocsp-'));
    const file = (name: string): string => join(directory, name);
    try {
      const nonce = randomBytes(32);
      writeFileSync(file('request.der'), buildOcspRequest(certificate, issuer, nonce));
      writeFileSync(file('ca.pem'), ca.certificate);
      writeFileSync(file('ca.key'), ca.key, { mode: 0o600 });
      const answer = (index: string): ReturnType<typeof judgeOcspResponse> => {
        writeFileSync(file('index.txt'), index);
        const args = ['ocsp', '-index', file('index.txt'), '-CA', file('ca.pem'), '-rsigner', file('ca.pem'), '-rkey', file('ca.key')];
        execFileSync('openssl', [...args, '-reqin', file('request.der'), '-respout', file('response.der'), '-ndays', '1'], { stdio: 'pipe' });
        return judgeOcspResponse(readFileSync(file('response.der')), { certificate, issuer, nonce, now: Date.now(), skew: MINUTE, maxAge: HOUR, nonceRequired: true });
      };
      const serial = client.serialHex.toUpperCase();
      expect(answer(`V\t351231235959Z\t\t${serial}\tunknown\t/CN=Dr Wang\n`)).toMatchObject({ kind: 'good' });
      expect(answer(`R\t351231235959Z\t250101000000Z,keyCompromise\t${serial}\tunknown\t/CN=Dr Wang\n`)).toMatchObject({ kind: 'revoked', code: 1, revokedAt: Date.UTC(2025, 0, 1) });
      expect(answer('')).toMatchObject({ kind: 'unavailable', detail: expect.stringMatching(/does not know/) });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
