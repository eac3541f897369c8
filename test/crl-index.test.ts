import { describe, expect, it } from 'vitest';
import fc from 'fast-check';
import { createCrlIndex, lookupCrl } from '../src/revocation/crl-index.ts';

const octets = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'));

function indexOf(serials: readonly { serial: Uint8Array; issuer?: number; seconds?: number; code?: number }[]) {
  const builder = createCrlIndex(serials.length);
  for (const { serial, issuer = 0, seconds = 0, code = 0 } of serials) {
    builder.add(serial, 0, serial.length, issuer, seconds, code);
  }
  return builder.finish();
}

describe('crl index', () => {
  it('finds what was added, with reason and date, and nothing else', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.uint8Array({ minLength: 1, maxLength: 20 }), {
          maxLength: 200,
          selector: (serial) => Buffer.from(serial).toString('hex'),
        }),
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { maxLength: 200 }),
        (listed, asked) => {
          const known = new Map(listed.map((serial, position) => [Buffer.from(serial).toString('hex'), position]));
          const index = indexOf(listed.map((serial, position) => ({ serial, seconds: position, code: position % 7 })));
          for (const serial of [...listed, ...asked]) {
            const position = known.get(Buffer.from(serial).toString('hex'));
            const expected = position === undefined ? undefined : { code: position % 7, at: position * 1000 };
            expect(lookupCrl(index, serial)).toEqual(expected);
          }
        },
      ),
    );
  });

  it('tells serials apart that differ only in leading or trailing zero octets', () => {
    const index = indexOf([{ serial: octets('ff') }]);
    expect(lookupCrl(index, octets('ff'))).toBeDefined();
    expect(lookupCrl(index, octets('00ff'))).toBeUndefined();
    expect(lookupCrl(index, octets('ff00'))).toBeUndefined();
    expect(lookupCrl(index, octets('ff000000'))).toBeUndefined();
  });

  it('keeps the entries of several issuers apart', () => {
    const index = indexOf([{ serial: octets('01'), issuer: 1, code: 1 }]);
    expect(lookupCrl(index, octets('01'), 0)).toBeUndefined();
    expect(lookupCrl(index, octets('01'), 1)).toEqual({ code: 1, at: 0 });
  });

  it('keeps the gravest reason of a serial listed twice', () => {
    const serial = octets('0a');
    expect(lookupCrl(indexOf([{ serial, code: 6 }, { serial, code: 1 }]), serial)?.code).toBe(1);
    expect(lookupCrl(indexOf([{ serial, code: 1 }, { serial, code: 6 }]), serial)?.code).toBe(1);
    expect(lookupCrl(indexOf([{ serial, code: 8 }, { serial, code: 6 }]), serial)?.code).toBe(6);
  });

  it('answers for an empty list', () => {
    expect(lookupCrl(indexOf([]), octets('01'))).toBeUndefined();
  });

  it('is shared, not copied, when posted to a thread', () => {
    const index = indexOf([{ serial: octets('0b') }]);
    const posted = structuredClone(index);
    expect(posted.table.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(lookupCrl(posted, octets('0b'))).toBeDefined();
  });

  it('takes 20 bytes an entry, whatever the length of the serials', () => {
    const count = 100_000;
    const builder = createCrlIndex(count);
    const serial = new Uint8Array(20);
    const view = new DataView(serial.buffer);
    for (let i = 0; i < count; i += 1) {
      view.setUint32(8, Math.imul(i, 2654435761));
      view.setUint32(16, i);
      builder.add(serial, 0, 20, 0, i, 1);
    }
    const index = builder.finish();
    expect(index.entries).toBe(count);
    expect(index.table.byteLength / count).toBeLessThanOrEqual(20.01);
  });

  it('refuses more entries than were announced', () => {
    const builder = createCrlIndex(1);
    builder.add(octets('01'), 0, 1, 0, 0, 0);
    expect(() => builder.add(octets('02'), 0, 1, 0, 0, 0)).toThrow(/more than the announced 1/);
  });
});
