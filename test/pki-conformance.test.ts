import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { agrees, limboRows, oursText, pkitsId, pkitsRows } from './support/conformance.ts';
import type { Row } from './support/conformance.ts';
import { haveVectors, judgeLimbo, judgePkits, LIMBO_EXCEPTIONS, limboCases, PKITS_EXCEPTIONS, pkitsCases, pkitsExpectedPolicies } from './support/vectors.ts';
import type { Exception } from './support/vectors.ts';

const havePkits = haveVectors('pkits');
const haveLimbo = haveVectors('x509-limbo');

function exceptionIds(exceptions: readonly Exception[]): ReadonlySet<string> {
  return new Set(exceptions.flatMap(({ cases }) => cases));
}

function table(name: string): ReadonlyMap<string, readonly string[]> {
  const document = readFileSync(new URL('../docs/conformance.md', import.meta.url), 'utf8');
  const block = document.split(`<!-- ${name} -->\n`)[1]?.split(`<!-- /${name} -->`)[0] ?? '';
  const rows = block.trimEnd().split('\n').slice(2).map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim().replaceAll('**', '')));
  return new Map(rows.map((cells) => [cells[0] as string, cells]));
}

function documented(rows: readonly Row[]): readonly (readonly string[])[] {
  return rows.map((row) => [row.id, row.expected, oursText(row)]);
}

describe.skipIf(!havePkits)('NIST PKITS', () => {
  const rows = havePkits ? pkitsRows() : [];
  const exceptions = exceptionIds(PKITS_EXCEPTIONS);

  it.each(rows.filter(({ id }) => !exceptions.has(id)).map((row) => [row.id, row] as const))('decides %s as expected', (_, row) => {
    expect(row.ours.kind, JSON.stringify(row.ours)).toBe(row.expected === 'accepts' ? 'accepted' : 'refused');
  });

  it.each(havePkits ? pkitsCases().filter((test) => test.should_validate && !exceptions.has(pkitsId(test))).map((test) => [pkitsId(test), test] as const) : [])(
    'finds the policies of %s',
    (_, test) => {
      const verdict = judgePkits(test);
      expect(verdict.kind === 'accepted' && [...verdict.policies].sort()).toEqual([...pkitsExpectedPolicies(test)].sort());
    },
  );

  it('differs in the cases that the document argues, and in no other', () => {
    expect(rows.filter((row) => !agrees(row)).map(({ id }) => id)).toEqual([...exceptions]);
  });

  it('stands in the document as it is decided', () => {
    expect([...table('pkits').values()].map((cells) => cells.slice(0, 3))).toEqual(documented(rows));
  });
});

describe.skipIf(!haveLimbo)('x509-limbo', () => {
  const rows = haveLimbo ? limboRows() : [];
  const exceptions = exceptionIds(LIMBO_EXCEPTIONS);

  it.each(rows.filter(({ id }) => !exceptions.has(id)).map((row) => [row.id, row] as const))('decides %s as expected', (_, row) => {
    expect(row.ours.kind, JSON.stringify(row.ours)).toBe(row.expected === 'accepts' ? 'accepted' : 'refused');
  });

  it('differs in the cases that the document argues, and in no other', () => {
    expect(new Set(rows.filter((row) => !agrees(row)).map(({ id }) => id))).toEqual(exceptions);
  });

  it('stands in the document as it is decided', () => {
    expect([...table('limbo').values()].map((cells) => cells.slice(0, 3))).toEqual(documented(rows));
  });

  it.each([
    ['pathological::nc-dos-1', 'malformed'],
    ['pathological::nc-dos-2', 'constraint_violated'],
    ['pathological::nc-dos-3', 'constraint_violated'],
    ['pathological::pathological-chain-distinct-subject-distinct-key', 'untrusted_issuer'],
    ['rfc5280::validity::expired-root', 'expired'],
    ['rfc5280::validity::expired-intermediate', 'expired'],
    ['rfc5280::validity::expired-leaf', 'expired'],
    ['rfc5280::validity::not-yet-valid-1-second', 'not_yet_valid'],
    ['rfc5280::chain-untrusted-root', 'untrusted_issuer'],
    ['rfc5280::unknown-critical-extension-ee', 'constraint_violated'],
    ['pathlen::intermediate-violates-pathlen-0', 'constraint_violated'],
  ])('refuses %s for its own reason: %s', (id, reason) => {
    const test = limboCases().find((candidate) => candidate.id === id);
    expect(test && judgeLimbo(test)).toMatchObject({ kind: 'refused', reason });
  });
});
