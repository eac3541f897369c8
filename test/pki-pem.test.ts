import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { pem } from '../src/ca/der.ts';
import { PkiError } from '../src/pki/der.ts';
import { pemBlocks } from '../src/pki/pem.ts';

const block = (body: string, label = 'CERTIFICATE'): string => `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;

describe('pemBlocks', () => {
  it('reads back every block that is written, of any label, among comments', () => {
    const written = fc.array(fc.tuple(fc.constantFrom('CERTIFICATE', 'X509 CRL', 'PRIVATE KEY'), fc.uint8Array({ minLength: 1, maxLength: 300 })), { maxLength: 4 });
    fc.assert(fc.property(written, fc.constantFrom('\n', '\r\n'), (blocks, ending) => {
      const text = blocks.map(([label, der]) => `subject=CN = x\n${pem(label, der)}`).join('').replaceAll('\n', ending);
      expect(pemBlocks(text).map(({ label, der }) => [label, der])).toEqual(blocks);
    }));
  });

  it('picks the blocks of one label', () => {
    expect(pemBlocks(block('AAAA') + block('AAAB', 'X509 CRL'), 'X509 CRL')).toMatchObject([{ label: 'X509 CRL' }]);
  });

  it.each([
    ['a block that does not end', '-----BEGIN CERTIFICATE-----\nAAAA\n', 'line 1'],
    ['a block that ends under another label', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END X509 CRL-----\n', 'line 3'],
    ['a block inside a block', `-----BEGIN CERTIFICATE-----\n${block('AAAA')}`, 'line 2'],
    ['an end without a beginning', '-----END CERTIFICATE-----\n', 'line 1'],
    ['an empty block', block(''), 'line 1'],
    ['headers inside a block', block('Proc-Type: 4,ENCRYPTED\n\nAAAA'), 'line 2'],
    ['other characters inside a block', block('AA\u0000A'), 'line 2'],
    ['base64 with bits left over', block('AAB='), 'line 1'],
    ['base64 with padding in the middle', block('AA==\nAAAA'), 'line 1'],
    ['a broken boundary', '-----BEGIN CERTIFICATE----\nAAAA\n', 'line 1'],
  ])('refuses %s and names the line', (_, text, line) => {
    expect(() => pemBlocks(text)).toThrow(PkiError);
    expect(() => pemBlocks(text)).toThrow(line);
  });
});
