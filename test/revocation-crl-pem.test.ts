import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pemBlocks } from '../src/pki/pem.ts';
import { PkiError } from '../src/pki/der.ts';
import { crlPemBlocks } from '../src/revocation/crl-pem.ts';

function pem(der: Uint8Array, { width = 64, end = '\n', label = 'X509 CRL' } = {}): string {
  const lines = Buffer.from(der).toString('base64').match(new RegExp(`.{1,${width}}`, 'g')) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join(end);
}

const read = (text: string): string[] => crlPemBlocks(Buffer.from(text, 'latin1')).map((der) => Buffer.from(der).toString('hex'));

describe('PEM of CRLs', () => {
  it('reads what was written, at any line length and with any line ends', () => {
    fc.assert(fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { minLength: 1, maxLength: 3 }), fc.integer({ min: 1, max: 100 }), fc.constantFrom('\n', '\r\n'),
      (ders, width, end) => {
        expect(read(ders.map((der) => pem(der, { width, end })).join(`text${end}`))).toEqual(ders.map((der) => Buffer.from(der).toString('hex')));
      },
    ));
  });

  it('accepts nothing that the strict reader of other PEM files refuses', () => {
    const whole = pem(Buffer.from('an example of some octets, long enough for two lines of base64'));
    fc.assert(fc.property(fc.nat(whole.length - 1), fc.integer({ min: 9, max: 126 }), (at, code) => {
      const text = whole.slice(0, at) + String.fromCharCode(code) + whole.slice(at + 1);
      let ours: string[] | undefined;
      try {
        ours = read(text);
      } catch (error) {
        expect(error).toBeInstanceOf(PkiError);
        return;
      }
      // A blank inside a line is all that is let through here and not there.
      if (/[\t ]/.test(text.slice(at, at + 1)) || ours.length === 0) return;
      expect(pemBlocks(text, 'X509 CRL').map(({ der }) => Buffer.from(der).toString('hex'))).toEqual(ours);
    }), { numRuns: 2000 });
  });

  it('skips other blocks and text', () => {
    const other = pem(Buffer.from('certificate'), { label: 'CERTIFICATE' });
    expect(read(`${other}note: -----BEGIN X509 CRL----- is the label\n${pem(Buffer.from([1, 2, 3]))}${other}`)).toEqual(['010203']);
  });

  it.each([
    ['that does not end', '-----BEGIN X509 CRL-----\nAAAA\n'],
    ['that is empty', '-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n'],
    ['with too little padding', '-----BEGIN X509 CRL-----\nAA=\n-----END X509 CRL-----\n'],
    ['with too much padding', '-----BEGIN X509 CRL-----\nAAAA=\n-----END X509 CRL-----\n'],
    ['with data after the padding', '-----BEGIN X509 CRL-----\nAA==AAAA\n-----END X509 CRL-----\n'],
    ['with bits that nobody reads', '-----BEGIN X509 CRL-----\nAB==\n-----END X509 CRL-----\n'],
    ['with another block inside', '-----BEGIN X509 CRL-----\nAAAA\n-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n'],
    ['with headers', '-----BEGIN X509 CRL-----\nName: value\n\nAAAA\n-----END X509 CRL-----\n'],
  ])('refuses a block %s', (_, text) => {
    expect(() => read(text)).toThrow(PkiError);
  });
});
