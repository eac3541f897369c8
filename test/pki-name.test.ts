import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { oid, sequence, setOf, text, tlv } from '../src/ca/der.ts';
import type { StringKind } from '../src/ca/der.ts';
import { PkiError } from '../src/pki/der.ts';
import { formatName, parseName, parseNameText, sameName } from '../src/pki/name.ts';

type Pair = readonly [type: string, value: string, kind?: StringKind];

function name(...rdns: readonly (readonly Pair[])[]): Uint8Array {
  return sequence(...rdns.map((rdn) => setOf(...rdn.map(([type, value, kind]) => sequence(oid(type), text(value, kind))))));
}

const CN = '2.5.4.3';
const OU = '2.5.4.11';
const O = '2.5.4.10';

describe('names', () => {
  it('are written most specific first', () => {
    expect(formatName(parseName(name([[O, 'Hospital']], [[OU, 'Doctors']], [[CN, 'Dr Wang']])))).toBe('CN=Dr Wang,OU=Doctors,O=Hospital');
  });

  it('match whatever their string types, case, blanks and order within an RDN', () => {
    const left = parseName(name([[O, 'Hospital', 'printable']], [[CN, 'Dr  Wang', 'utf8'], [OU, 'Doctors']]));
    const right = parseName(name([[O, 'HOSPITAL', 'bmp']], [[OU, 'doctors '], [CN, 'dr wang', 'teletex']]));
    expect(sameName(left, right)).toBe(true);
  });

  it('match in their compatible forms (RFC 4518)', () => {
    expect(sameName(parseName(name([[CN, 'Müller ﬁ １\u00ad']])), parseName(name([[CN, 'MU\u0308LLER FI 1']])))).toBe(true);
  });

  it('differ by how their attributes are grouped', () => {
    const together = parseName(name([[CN, 'a'], [OU, 'b']]));
    const apart = parseName(name([[CN, 'a']], [[OU, 'b']]));
    expect(sameName(together, apart)).toBe(false);
  });

  it('differ when a value imitates the separators', () => {
    expect(sameName(parseName(name([[CN, 'a'], [OU, 'b']])), parseName(name([[CN, `a+${OU}==b`]])))).toBe(false);
    expect(sameName(parseName(name([[CN, 'a']], [[OU, 'b']])), parseName(name([[CN, `a,${OU}==b`]])))).toBe(false);
  });

  it('differ when text imitates a value that is no text', () => {
    const integer = parseName(sequence(setOf(sequence(oid(CN), tlv(0x02, Buffer.of(5))))));
    expect(integer.rdns[0]?.[0]).toMatchObject({ value: '#020105', opaque: true });
    expect(sameName(integer, parseName(name([[CN, '#020105']])))).toBe(false);
    expect(formatName(integer)).toBe('CN=#020105');
    expect(formatName(parseName(name([[CN, '#020105']])))).toBe('CN=\\#020105');
  });

  it('show no control or direction characters', () => {
    expect(formatName(parseName(name([[CN, 'a\nb\u202ec\u0000']])))).toBe('CN=a\\0ab\\e2\\80\\aec\\00');
  });

  it('are read back from their text', () => {
    const value = fc.string({ unit: 'grapheme', maxLength: 20 });
    const rdn = fc.array(fc.tuple(fc.constantFrom(CN, OU, O, '1.2.3.4', '0.9.2342.19200300.100.1.25'), value), { minLength: 1, maxLength: 3 });
    fc.assert(fc.property(fc.array(rdn, { maxLength: 4 }), (rdns) => {
      const parsed = parseName(name(...rdns));
      const again = parseNameText(formatName(parsed));
      expect(sameName(again, parsed)).toBe(true);
      expect(formatName(again)).toBe(formatName(parsed));
    }));
  });

  it('are read as people type them', () => {
    expect(sameName(parseNameText('cn = Dr Wang , OU=Doctors,2.5.4.10=Hospital'), parseName(name([[O, 'Hospital']], [[OU, 'Doctors']], [[CN, 'Dr Wang']])))).toBe(true);
  });

  it.each(['Dr Wang', 'XX=1', 'CN=a\\', 'CN=#0', 'CN=#02', 'CN=a,,O=b', 'CN=\\ff'])('are refused as text: %s', (given) => {
    expect(() => parseNameText(given)).toThrow(PkiError);
  });

  it.each([
    ['an empty RDN', sequence(setOf())],
    ['an RDN that is no SET', sequence(sequence(sequence(oid(CN), text('a'))))],
    ['an attribute of three parts', sequence(setOf(sequence(oid(CN), text('a'), text('b'))))],
    ['invalid UTF-8', sequence(setOf(sequence(oid(CN), tlv(0x0c, Buffer.of(0xff)))))],
    ['PrintableString beyond ASCII', sequence(setOf(sequence(oid(CN), tlv(0x13, Buffer.of(0xe4)))))],
  ])('are refused with %s', (_, der) => {
    expect(() => parseName(der)).toThrow(PkiError);
  });
});
