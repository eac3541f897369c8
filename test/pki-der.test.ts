import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkDer, decodeNamedBits, decodeOid, decodeSerial, decodeSmallInteger, decodeTime, DerCursor, PkiError, readAll, readSingle, TAG } from '../src/pki/der.ts';
import { oid, tlv } from '../src/ca/der.ts';

const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
const time = (text: string): number => decodeTime(readSingle(tlv(text.length === 13 ? 0x17 : 0x18, Buffer.from(text)), text.length === 13 ? 0x17 : 0x18, 't'), 't');

describe('the DER reader', () => {
  it.each([
    ['an indefinite length', '30 80 05 00 00 00'],
    ['a length in more octets than needed', '30 81 02 05 00'],
    ['a length with a leading zero', '30 82 00 80' + '00'.repeat(128)],
    ['a length of five octets', '30 85 00 00 00 00 02 05 00'],
    ['an element past the end', '30 03 05 00'],
    ['an element that ends in its header', '30'],
    ['octets after the end', '30 00 00'],
    ['a high tag number', '3f 1f 00'],
    ['a boolean of another value', '30 03 01 01 01'],
    ['an integer with a leading zero', '30 04 02 02 00 01'],
    ['an integer with a leading FF', '30 04 02 02 ff ff'],
    ['an integer of no octets', '30 02 02 00'],
    ['an object identifier with a leading 80', '30 04 06 02 80 01'],
    ['an object identifier that ends early', '30 03 06 01 81'],
    ['unused bits that are set', '30 04 03 02 01 01'],
    ['unused bits of nothing', '30 03 03 01 01'],
    ['a string in pieces', '30 06 24 04 04 02 00 00'],
    ['a NULL with contents', '30 03 05 01 00'],
    ['a SEQUENCE in primitive form', '30 02 10 00'],
  ])('refuses %s', (_, hex) => {
    expect(() => checkDer(bytes(hex), 'test')).toThrow(PkiError);
  });

  it('refuses what is nested too deep, before the stack does', () => {
    let nested: Uint8Array = Buffer.from('0500', 'hex');
    for (let depth = 0; depth < 20_000; depth += 1) nested = tlv(0x30, nested);
    expect(() => checkDer(nested, 'test')).toThrow(/nested deeper/);
  });

  it('reads times of both kinds, in one form', () => {
    expect(time('491231235959Z')).toBe(Date.UTC(2049, 11, 31, 23, 59, 59));
    expect(time('500101000000Z')).toBe(Date.UTC(1950, 0, 1));
    expect(time('99991231235959Z')).toBe(Date.UTC(9999, 11, 31, 23, 59, 59));
  });

  it.each(['250230000000Z', '251301000000Z', '250101240000Z', '250101006000Z', '20250101000060Z', '2501010000Z00', '20250101000000+'])('refuses the time %s', (text) => {
    expect(() => time(text)).toThrow(PkiError);
  });

  it('keeps a negative serial number apart from the positive one with the same octets', () => {
    expect(decodeSerial(bytes('ff'), 's')).toBe('-ff');
    expect(decodeSerial(bytes('00ff'), 's')).toBe('ff');
    expect(decodeSerial(bytes('00'), 's')).toBe('00');
  });

  it('clamps integers that no limit means', () => {
    expect(decodeSmallInteger(bytes('0100000000'), 'n')).toBe(0x7fffffff);
    expect(decodeSmallInteger(bytes('00ffffffff'), 'n')).toBe(0x7fffffff);
    expect(decodeSmallInteger(bytes('03'), 'n')).toBe(3);
  });

  it('reads named bits', () => {
    expect(decodeNamedBits(bytes('0106'), 'b')).toEqual([5, 6]);
    expect(decodeNamedBits(bytes('070080'), 'b')).toEqual([8]);
  });

  it('reads object identifiers as they were written, arcs of UUIDs too', () => {
    const arc = fc.oneof(fc.nat(200), fc.nat(), fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }));
    const dotted = fc.tuple(fc.constantFrom('0', '1', '2'), fc.nat(39), fc.array(arc, { maxLength: 5 })).map(([root, second, rest]) => [root, second, ...rest].join('.'));
    fc.assert(fc.property(dotted, (text) => decodeOid(readSingle(oid(text), TAG.oid, 'o').content, 'o') === text));
  });

  it('reads back every tree that is written', () => {
    const { tree } = fc.letrec<{ tree: Buffer }>((tie) => ({
      tree: fc.oneof({ maxDepth: 6 }, fc.uint8Array({ maxLength: 300 }).map((content) => tlv(TAG.octetString, content)), fc.array(tie('tree'), { maxLength: 5 }).map((parts) => tlv(TAG.sequence, ...parts))),
    }));
    const rebuild = (element: { tag: number; content: Uint8Array }): Buffer =>
      element.tag === TAG.sequence ? tlv(TAG.sequence, ...readAll(element.content, 't').map(rebuild)) : tlv(element.tag, element.content);
    fc.assert(fc.property(tree, (der) => {
      checkDer(der, 'tree');
      expect(rebuild(new DerCursor(der, 'tree').next()).equals(der)).toBe(true);
    }));
  });

  // FUZZ_RUNS=1000000 for the long run.
  it('throws nothing but its own error, whatever it reads', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
      try {
        checkDer(input, 'fuzz');
      } catch (error) {
        expect(error).toBeInstanceOf(PkiError);
      }
    }), { numRuns: Number(process.env.FUZZ_RUNS ?? 5000) });
  }, 600_000);
});
