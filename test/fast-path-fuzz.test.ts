import { describe, expect, it } from 'vitest';
import { readAnswerHead } from '../src/forward/fast/answer-head.ts';
import { ChunkScanner } from '../src/forward/fast/chunks.ts';
import { readRequestHead } from '../src/forward/fast/request-head.ts';
import { compare, compareSplits, createPeerCheck, fuzz } from './support/http1-differential.ts';
import type { Input } from './support/http1-generator.ts';
import { seedsOfAttacks } from './smuggling/seeds.ts';

const SEED = 20_261_122;
const CASES = 100_000;
const seeds = seedsOfAttacks();

describe('the fast path and node:http', () => {
  it(`see the same messages in ${CASES} generated inputs, or the fast path hands them over or refuses them`, () => {
    const report = fuzz(SEED, 0, CASES, seeds);
    expect(report.found, `scripts/fuzz-http1.ts 1 ${SEED} NUMBER runs one of them again`).toEqual([]);
    // A reader that takes nothing agrees with everything.
    expect(report.taken.requests).toBeGreaterThan(CASES / 10);
    expect(report.taken.answer).toBeGreaterThan(CASES / 20);
  });

  it('see the same messages in every attack that is known', () => {
    const checkPeer = createPeerCheck();
    const inputs: Input[] = [
      ...seeds.requests.map((octets) => ({ kind: 'requests', octets }) as const),
      ...seeds.answers.flatMap((octets) => [{ kind: 'answer', octets, head: false }, { kind: 'answer', octets, head: true }] as const),
    ];
    expect(inputs.length).toBeGreaterThan(500);
    for (const input of inputs) {
      for (const comparison of [compare(input), compareSplits(input), ...(input.kind === 'requests' ? [checkPeer(input.octets)] : [])]) expect({ input, ...comparison }).not.toMatchObject({ kind: 'disagreement' });
    }
  });
});

function scan(text: string): ChunkScanner {
  const scanner = new ChunkScanner();
  const octets = Buffer.from(text, 'latin1');
  scanner.scan(octets, 0, octets.length, () => undefined);
  return scanner;
}

describe('what the two have disagreed on', () => {
  it('is an HTTP/0.9 request, which has no second line to wait for', () => {
    expect(readRequestHead('GET /\n')).toEqual({ kind: 'unusual' });
    expect(readRequestHead('GET /\r\n')).toEqual({ kind: 'unusual' });
    expect(readRequestHead('GET / HT')).toEqual({ kind: 'incomplete' });
  });

  it('is a tab behind "chunked", which Node takes for another coding', () => {
    expect(readAnswerHead('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n', { head: false })).toEqual({ kind: 'unusual' });
  });

  it('is Proxy-Connection, which Node takes for Connection', () => {
    expect(readAnswerHead('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nProxy-Connection: close\r\n\r\n', { head: false })).toEqual({ kind: 'unusual' });
  });

  it('is an answer to HEAD that does not say how long it would be, behind which the connection is not used again', () => {
    expect(readAnswerHead('HTTP/1.1 200 OK\r\n\r\n', { head: true })).toMatchObject({ body: { kind: 'none' }, close: true });
    expect(readAnswerHead('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n', { head: true })).toMatchObject({ body: { kind: 'none' }, close: false });
  });

  it.each([';', ';;', '; a', ';a b', ';a="b', ';a="b"c', ';(', ' ;a', ';a\t', ';a=,'])('is a chunk extension that is none: %j', (extension) => {
    expect(scan(`5${extension}\r\nhello\r\n0\r\n\r\n`).invalid).toBe(true);
  });

  it.each([';a', ';a=b', ';a="b c"', ';a=b;c="d;e"'])('is not a chunk extension that is one: %j', (extension) => {
    expect(scan(`5${extension}\r\nhello\r\n0\r\n\r\n`).ended).toBe(true);
  });

  it.each(['X', ': y', 'X : y', ' X: y', 'Content-Length: 5', 'Transfer-Encoding: chunked', 'Connection: close', 'Host: x'])('is a trailer that must not be: %j', (line) => {
    expect(scan(`5\r\nhello\r\n0\r\n${line}\r\n\r\n`).invalid).toBe(true);
  });
});
