import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { answerOcsp, createAuthority, issueCertificate, issueCrl, ocspNoCheck } from '../src/ca/issue.ts';
import { DEFAULT_ALGORITHMS } from '../src/pki/algorithms.ts';
import { parseCertificate } from '../src/pki/certificate.ts';
import { checkDer, PkiError } from '../src/pki/der.ts';
import { buildOcspRequest, judgeOcspResponse } from '../src/pki/ocsp.ts';
import { crlBlocks, loadCrl } from '../src/revocation/crl-load.ts';

/**
 * Feeds mutated CRLs and OCSP answers to the readers: nothing may be thrown but a PkiError, no input may take long, memory must
 * not grow, and no mutated answer may be good.
 *
 *   node scripts/fuzz-revocation.ts [INPUTS] [SEED]        default 1000000 inputs
 *
 * A failure prints the input in hex and the seed, and exits 1.
 */

const SLOW_MS = 250;
const MAX_GROWTH_OCTETS = 256 * 1024 * 1024;
const PKITS = new URL('../../shared/vectors/pkits/crls/', import.meta.url).pathname;

type Random = (below: number) => number;

/** mulberry32: reproducible from a seed. */
function seeded(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

// Octets that mean something in DER: tags, long and indefinite lengths, extremes.
const TELLING = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x17, 0x18, 0x1f, 0x30, 0x31, 0x7f, 0x80, 0x81, 0x82, 0x84, 0x88, 0xa0, 0xa1, 0xa4, 0xff] as const;

function mutate(input: Uint8Array, random: Random): Uint8Array {
  let bytes: Uint8Array = Uint8Array.from(input);
  for (let step = 1 + random(4); step > 0; step -= 1) bytes = mutateOnce(bytes, random);
  return bytes;
}

function mutateOnce(bytes: Uint8Array, random: Random): Uint8Array {
  if (bytes.length === 0) return Uint8Array.of(random(256));
  const at = random(bytes.length);
  const until = Math.min(bytes.length, at + 1 + random(24));
  switch (random(7)) {
    case 0:
      bytes[at] = random(256);
      return bytes;
    case 1:
      bytes[at] = TELLING[random(TELLING.length)]!;
      return bytes;
    case 2:
      bytes[at] = bytes[at]! ^ (1 << random(8));
      return bytes;
    case 3:
      return bytes.subarray(0, at);
    case 4:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(until)]);
    case 5:
      return Buffer.concat([bytes.subarray(0, until), bytes.subarray(at)]);
    default:
      bytes.copyWithin(random(bytes.length), at, until);
      return bytes;
  }
}

interface Target {
  readonly name: string;
  readonly seeds: readonly Uint8Array[];
  /** Throws when the input is read wrongly. */
  readonly read: (input: Uint8Array) => void;
}

async function targets(): Promise<readonly Target[]> {
  const ca = await createAuthority({ name: 'Fuzz CA' });
  const client = await issueCertificate(ca, { subject: [['CN', 'Client']] });
  const responder = await issueCertificate(ca, { subject: [['CN', 'Responder']], eku: ['OCSPSigning'], extensions: [ocspNoCheck()] });
  const certificate = parseCertificate(client.der);
  const issuer = parseCertificate(ca.der);
  const now = Date.now();
  const request = buildOcspRequest(certificate, issuer);
  const answers = await Promise.all([
    answerOcsp(request, { authority: ca, statusOf: () => ({ kind: 'good' }) }),
    answerOcsp(request, { authority: ca, delegate: responder, statusOf: () => ({ kind: 'good' }), responderId: 'name' }),
    answerOcsp(request, { authority: ca, statusOf: () => ({ kind: 'revoked', reason: 'keyCompromise' }) }),
    answerOcsp(request, { authority: ca, statusOf: () => ({ kind: 'unknown' }), failure: 'tryLater' }),
  ]);
  const point = { urls: ['http://pki.test/a.crl'], indirectCRL: true, onlySomeReasons: ['keyCompromise'] } as const;
  const lists = [
    await issueCrl(ca, { revoked: [{ serial: '01' }, { serial: 'ff', reason: 'superseded' }] }),
    await issueCrl(ca, { deltaBase: 1, number: 2, issuingDistributionPoint: point, revoked: [{ serial: '01', certificateIssuer: ca.subject, invalidityDate: now }] }),
    ...(existsSync(PKITS) ? readdirSync(PKITS).map((file) => readFileSync(join(PKITS, file))) : []),
  ];
  const genuine = new Set(answers.map((answer) => answer.toString('hex')));
  const signers = { known: [], pools: [], now, algorithms: DEFAULT_ALGORITHMS };
  return [
    { name: 'DER reader', seeds: [...lists, ...answers, ca.der], read: (input) => checkDer(input, 'fuzz') },
    { name: 'certificate', seeds: [ca.der, client.der, responder.der], read: parseCertificate },
    { name: 'CRL', seeds: lists, read: (input) => crlBlocks(input).forEach((der) => loadCrl('fuzz', der, signers)) },
    {
      name: 'OCSP answer', seeds: answers,
      read: (input) => {
        const { kind } = judgeOcspResponse(input, { certificate, issuer, now, skew: 60_000, maxAge: 3_600_000 });
        if (kind === 'good' && !genuine.has(Buffer.from(input).toString('hex'))) throw new Error('a mutated answer is good');
      },
    },
  ];
}

/** Whether the reader took the input as it should: in time, with no error but its own. */
function fault(target: Target, input: Uint8Array): string | undefined {
  const started = performance.now();
  try {
    target.read(input);
  } catch (error) {
    if (!(error instanceof PkiError)) return String((error as Error).stack);
  }
  const elapsed = performance.now() - started;
  return elapsed > SLOW_MS ? `took ${elapsed.toFixed(0)} ms` : undefined;
}

const inputs = Number(process.argv[2] ?? 1_000_000);
const seed = Number(process.argv[3] ?? Date.now() % 0xffffffff);
const random = seeded(seed);
const all = await targets();
console.log(`seed ${seed}, ${inputs} inputs for ${all.map(({ name }) => name).join(', ')}`);
const before = process.memoryUsage.rss();
const started = performance.now();
for (let count = 0; count < inputs; count += 1) {
  const target = all[count % all.length]!;
  const input = mutate(target.seeds[random(target.seeds.length)]!, random);
  const found = fault(target, input);
  if (found !== undefined) {
    console.error(`${target.name}: ${found}\nseed ${seed}, input ${count}: ${Buffer.from(input).toString('hex')}`);
    process.exit(1);
  }
}
const growth = process.memoryUsage.rss() - before;
console.log(`${inputs} inputs in ${((performance.now() - started) / 1000).toFixed(0)} s, resident size ${(growth / 1024 / 1024).toFixed(0)} MiB more than before`);
if (growth > MAX_GROWTH_OCTETS) {
  console.error('memory grew without bound');
  process.exit(1);
}
