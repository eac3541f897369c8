import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import type { RevocationConfig } from '../src/config/schema.ts';
import { parseCertificate, type Certificate } from '../src/pki/certificate.ts';
import { openKept } from '../src/revocation/kept.ts';
import { createStaples, type Staples, type StapleWanted } from '../src/revocation/staples.ts';
import { answerOcsp, createAuthority, issueCertificate, type Authority, type OcspAnswerOptions } from './support/pki.ts';

const HOUR = 3_600_000;

let ca: Authority;
let other: Authority;
let wanted: StapleWanted;
let certificate: Certificate;
let responder: Server;
let url: string;
let directory: string;
let asked = 0;
let answer: Partial<OcspAnswerOptions> | 'silence' | 'hang';
let now: number;

beforeAll(async () => {
  [ca, other] = await Promise.all([createAuthority({ name: 'CA' }), createAuthority({ name: 'CA' })]);
  responder = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      asked++;
      if (answer === 'hang') return;
      if (answer === 'silence') return void response.writeHead(503).end();
      // By the set clock: with no skew an answer of the next second would be one of the future.
      void answerOcsp(Buffer.concat(parts), { authority: ca, statusOf: () => ({ kind: 'good' }), producedAt: now - 1_000, ...answer }).then((octets) => response.end(octets));
    });
  });
  await new Promise<void>((done) => responder.listen(0, '127.0.0.1', done));
  url = `http://127.0.0.1:${(responder.address() as AddressInfo).port}/`;
  certificate = parseCertificate((await issueCertificate(ca, { subject: [['CN', 'localhost']], eku: ['serverAuth'], ocsp: url })).der);
  wanted = { certificate, issuer: parseCertificate(ca.der), every: HOUR, timeout: 5_000 };
});

afterAll(() => {
  responder.close();
});

beforeEach(async () => {
  directory = await mkdtemp(`${tmpdir()}/wardgate-staples-`);
  [now, asked, answer] = [Date.now(), 0, {}];
  return () => rm(directory, { recursive: true, force: true });
});

function open(): Staples {
  return createStaples({ kept: openKept({ directory, maxFiles: 8, maxOctets: 65_536 }), now: () => now, delegateStatus: () => 'unknown', changed: () => undefined, failed: () => undefined });
}

/** Asks until there is an answer, or a failure, and says what may be shown. */
async function shown(staples: Staples, urgent = true, local = true): Promise<number> {
  await staples.want([wanted], { skew: 0, allow_local: local } as RevocationConfig, () => urgent);
  return staples.all().length;
}

it('an answer is shown until its end and not a moment longer', async () => {
  const staples = open();
  expect(await shown(staples)).toBe(1);
  const [staple] = staples.all();
  now = (staple?.until ?? 0) - 1;
  expect(staples.all()).toHaveLength(1);
  now += 1;
  expect(staples.all()).toHaveLength(0);
  await staples.close();
});

it.each<[string, Partial<OcspAnswerOptions> | 'silence']>([
  ['without an end', { nextUpdate: null }],
  ['that is over', { thisUpdate: Date.now() - 2 * HOUR, nextUpdate: Date.now() - HOUR }],
  ['whose signature does not hold', { breakSignature: true }],
  ['that says revoked', { statusOf: () => ({ kind: 'revoked', at: Date.now() - HOUR }) }],
  ['that says unknown', { statusOf: () => ({ kind: 'unknown' }) }],
  ['that does not come', 'silence'],
])('an answer %s is not shown', async (_, given) => {
  answer = given;
  const staples = open();
  expect(await shown(staples)).toBe(0);
  expect(asked).toBe(1);
  await staples.close();
});

it('an answer of another CA of the same name is not shown', async () => {
  answer = { authority: other, anyIssuer: true };
  const staples = open();
  expect(await shown(staples)).toBe(0);
  await staples.close();
});

it('a responder on this host is not asked unless that is allowed', async () => {
  const staples = open();
  expect(await shown(staples, true, false)).toBe(0);
  expect(asked).toBe(0);
  expect(staples.report(certificate).last_error?.detail).toContain('a local address');
  await staples.close();
});

it('a certificate that must have an answer waits for its time once, and not for each responder', async () => {
  answer = 'hang';
  const staples = open();
  await staples.want([{ ...wanted, responder: url, timeout: 300 }], { skew: 0, allow_local: true } as RevocationConfig, () => true);
  expect(staples.report(certificate).last_error).toBeUndefined();
  await expect.poll(() => staples.report(certificate).last_error?.detail.match(/no answer|time/g)?.length).toBeGreaterThan(1);
  expect(asked).toBe(2);
  await staples.close();
});

it('an answer is kept for the next start', async () => {
  const before = open();
  await shown(before);
  await before.close();
  answer = 'silence';
  const after = open();
  expect(await shown(after, false)).toBe(1);
  expect(asked).toBe(1);
  await after.close();
});

it('an answer is asked for again when half of its life is over, and is shown meanwhile', async () => {
  const staples = open();
  answer = { thisUpdate: now, nextUpdate: now + HOUR };
  await shown(staples);
  now += HOUR / 2 - 2_000;
  staples.look();
  expect(asked).toBe(1);
  now += 4_000;
  answer = 'silence';
  staples.look();
  await expect.poll(() => staples.report(certificate).last_error).toBeDefined();
  expect(asked).toBe(2);
  expect(staples.all()).toHaveLength(1);
  // Not at once again.
  staples.look();
  expect(asked).toBe(2);
  await staples.close();
});

it('a good answer of before a revocation does not take it back: somebody plays a recording', async () => {
  answer = { thisUpdate: now, nextUpdate: now + HOUR, statusOf: () => ({ kind: 'revoked', at: now }) };
  const staples = open();
  await shown(staples);
  expect(staples.revoked(certificate)).toContain('revoked');
  answer = { thisUpdate: now - 10_000, nextUpdate: now + 3 * HOUR };
  now += HOUR;
  staples.look();
  await expect.poll(() => staples.report(certificate).last_error?.detail).toContain('older');
  expect(staples.revoked(certificate)).toContain('revoked');
  await staples.close();
});
