import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compilePattern, fitsPattern, fitsPieces, matchesText, type Comparison } from '../src/identity/patterns.ts';
import { readSpiffeId } from '../src/identity/spiffe.ts';
import { prepareText } from '../src/pki/preparation.ts';
import { processorTime } from './support/timing.ts';

/** Any text: whole characters, code points of every plane, and halves of surrogate pairs. */
const anything = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 30 }), fc.string({ unit: 'binary', maxLength: 30 }), fc.string({ maxLength: 30 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 }).map((units) => String.fromCharCode(...units)),
);
/** Few different characters, so that patterns meet what they look for. */
const small = fc.string({ unit: fc.constantFrom('a', 'b', 'A', ' ', '*', 'ß', '\u0308', '\u00ad', 'Σ'), maxLength: 12 });
const comparison = fc.constantFrom<Comparison>('name', 'caseless', 'uri', 'exact');

describe('the preparation of names', () => {
  it('changes nothing when it is done again', () => {
    fc.assert(fc.property(fc.oneof(anything, small), (value) => {
      const once = prepareText(value);
      expect(prepareText(once)).toBe(once);
    }), { numRuns: 5_000 });
  });

  it('of every character that there is changes nothing when it is done again, and neither case nor form matters', () => {
    const wrong: string[] = [];
    for (let point = 0; point < 0x110000; point++) {
      const character = String.fromCodePoint(point);
      if (/[\p{Cn}\p{Co}\p{Cs}]/u.test(character)) continue;
      const once = prepareText(`x${character}x`);
      const same = [once, `x${character}x`.normalize('NFKC'), `x${character}x`.normalize('NFD'), `x${character.toLowerCase()}x`].every((form) => prepareText(form) === once);
      if (!same) wrong.push(point.toString(16));
    }
    expect(wrong).toEqual([]);
  });

  it.each([
    ['blanks of every kind', 'a\t\n\u0085\u00a0\u2028\u3000 b', 'a b'], ['blanks at the ends', ' \u2003a ', 'a'], ['what has no shape', 'a\u200b\u00ad\u180e\ufeff\ufe0f\u034f\ufffc\u1806b', 'ab'],
    ['controls that separate nothing', 'a\u0000\u0007\u009fb', 'ab'], ['ligatures', 'ﬁ', 'fi'], ['fullwidth letters', 'Ａ＊', 'a*'], ['the Kelvin sign', '\u212a', 'k'],
    ['a sharp s in capitals', 'ẞ', 'ss'], ['sigmas', 'ΟΔΟΣ οδος', 'οδοσ οδοσ'], ['a dotted capital I', 'İ', 'i\u0307'], ['nothing', '', ''], ['blanks alone', ' \t ', ''],
    ['a blank that carries a mark', 'a \u0308b', 'a \u0308b'],
  ])('takes %s as RFC 4518 has it', (_, value, prepared) => {
    expect(prepareText(value)).toBe(prepared);
  });
});

describe('matching', () => {
  it('never throws, whatever pattern and value are', () => {
    fc.assert(fc.property(anything, anything, comparison, (pattern, value, kind) => {
      expect(typeof fitsPattern(compilePattern(pattern, kind), value)).toBe('boolean');
    }), { numRuns: 3_000 });
  });

  it('means by its pieces what a search for every way to place them means', () => {
    const pieces = fc.array(fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 3 }), { minLength: 1, maxLength: 4 });
    fc.assert(fc.property(pieces, fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 8 }), (parts, value) => {
      expect(fitsPieces(parts, value)).toBe(canPlace(parts, value));
    }), { numRuns: 5_000 });
  });

  it('of a text with itself holds where nothing is prohibited, and with anything around an asterisk', () => {
    const assigned = small.filter((value) => !value.includes('*'));
    fc.assert(fc.property(assigned, assigned, comparison, (one, other, kind) => {
      expect(fitsPattern(compilePattern(one, kind), one)).toBe(true);
      expect(fitsPattern(compilePattern('*', kind), one)).toBe(true);
      expect(fitsPattern(compilePattern(`x${one}x*x${other}x`, kind), `x${one}xy${one}zx${other}x`)).toBe(true);
    }), { numRuns: 2_000 });
  });

  it('without an asterisk is one value only: an asterisk in the value stands for itself', () => {
    fc.assert(fc.property(small, small.filter((pattern) => !pattern.includes('*')), (value, pattern) => {
      expect(matchesText(pattern, value)).toBe(prepareText(pattern) === prepareText(value));
    }), { numRuns: 3_000 });
  });

  it('takes time in proportion to the value, whatever it holds', () => {
    const pattern = compilePattern('*a*a*a*a*a*b', 'name');
    const long = 'a'.repeat(60_000);
    expect(processorTime(() => {
      for (let round = 0; round < 20; round++) expect(fitsPattern(pattern, long)).toBe(false);
    })).toBeLessThan(5_000);
  });
});

describe('reading a SPIFFE id', () => {
  it('never throws, and believes nothing that a URL parser would read otherwise', () => {
    const uri = fc.oneof(anything, fc.string({ unit: fc.constantFrom('a', '.', '/', '%', '2', 'f', ':', '@', '?', '#', '*', 'A', '_'), maxLength: 20 })).map((rest) => `spiffe://${rest}`);
    fc.assert(fc.property(uri, (value) => {
      const reading = readSpiffeId({ subjectAltNames: [{ kind: 'uri', value }] });
      if (reading.kind !== 'id') return;
      const parsed = new URL(value);
      expect([parsed.host, parsed.href, parsed.search, parsed.hash, parsed.username]).toEqual([reading.spiffe.trustDomain, value, '', '', '']);
    }), { numRuns: 5_000 });
  });
});

/** The meaning of a pattern, the slow way: its first piece begins the text, its last one ends it, the others stand between them in order. */
function canPlace([first = '', ...rest]: readonly string[], text: string): boolean {
  if (rest.length === 0) return text === first;
  if (!text.startsWith(first)) return false;
  const left = text.slice(first.length);
  return Array.from({ length: left.length + 1 }, (_, at) => left.slice(at)).some((tail) => canPlace(rest, tail));
}
