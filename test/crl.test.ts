import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { scanCrl } from '../src/pki/crl.ts';
import type { CrlSink } from '../src/pki/crl-entries.ts';
import type { Crl } from '../src/pki/crl.ts';
import { PkiError, toHex } from '../src/pki/der.ts';
import { formatName } from '../src/pki/name.ts';
import { createAuthority, issueCrl, unknownExtension } from './support/pki.ts';
import type { Authority } from './support/pki.ts';

const PKITS = new URL('../../shared/vectors/pkits/crls/', import.meta.url).pathname;
if (!existsSync(PKITS)) console.log('skipped: the PKITS lists need ../shared/vectors/pkits');

interface Entry {
  serial: string;
  at: number;
  code: number;
  issuer: number;
}

function scanned(der: Uint8Array): { crl: Crl; entries: Entry[]; announced: number } {
  const entries: Entry[] = [];
  let announced = -1;
  const sink: CrlSink = {
    begin: (count) => {
      announced = count;
    },
    entry: (bytes, offset, length, issuer, seconds, code) => {
      entries.push({ serial: toHex(bytes.subarray(offset, offset + length)), at: seconds * 1000, code, issuer });
    },
  };
  return { crl: scanCrl(der, sink), entries, announced };
}

function malformed(der: Uint8Array): RegExp | string {
  try {
    scanCrl(der);
  } catch (error) {
    expect(error).toBeInstanceOf(PkiError);
    return (error as PkiError).message;
  }
  return 'no error';
}

describe('crl scan', () => {
  let ca: Authority;
  const thisUpdate = Date.UTC(2026, 0, 2, 3, 4, 5);
  const nextUpdate = Date.UTC(2051, 0, 2);

  beforeAll(async () => {
    ca = await createAuthority({ name: [['CN', 'Scan CA'], ['O', 'Hospital']] });
  });

  it('reads the fields of a list and hands over each entry', async () => {
    const der = await issueCrl(ca, {
      thisUpdate,
      nextUpdate,
      number: 'ff',
      revoked: [
        { serial: '01', date: Date.UTC(1999, 11, 31, 23, 59, 59) },
        { serial: 'ff00000000000000000000000000000000000001', date: Date.UTC(2024, 1, 29), reason: 'keyCompromise' },
        { serial: '7f', date: Date.UTC(2050, 0, 1), reason: 'certificateHold', invalidityDate: Date.UTC(2020, 0, 1) },
      ],
    });
    const { crl, entries, announced } = scanned(der);
    expect(announced).toBe(3);
    expect(entries).toEqual([
      { serial: '01', at: Date.UTC(1999, 11, 31, 23, 59, 59), code: 0, issuer: 0 },
      { serial: '00ff00000000000000000000000000000000000001', at: Date.UTC(2024, 1, 29), code: 1, issuer: 0 },
      { serial: '7f', at: Date.UTC(2050, 0, 1), code: 6, issuer: 0 },
    ]);
    expect(crl).toMatchObject({
      thisUpdate, nextUpdate, crlNumber: 255n, entries: 3, unknownCriticalExtensions: [], authorityKeyId: ca.keyIdentifier.toString('hex'),
    });
    expect(toHex(crl.issuer.der)).toBe(toHex(ca.subject));
    expect(crl).not.toHaveProperty('issuingDistributionPoint');
    expect(crl).not.toHaveProperty('baseCrlNumber');
  });

  it('reads a list without entries, without nextUpdate and of version 1', async () => {
    const { crl, announced } = scanned(await issueCrl(ca, { version: 1, nextUpdate: null }));
    expect(announced).toBe(0);
    expect(crl.entries).toBe(0);
    expect(crl).not.toHaveProperty('nextUpdate');
  });

  it('reads every calendar day as Date does', async () => {
    const days = fc.date({ min: new Date(Date.UTC(1950, 0, 1)), max: new Date(Date.UTC(9999, 11, 31)), noInvalidDate: true });
    await fc.assert(fc.asyncProperty(fc.array(days, { minLength: 1, maxLength: 20 }), async (dates) => {
      const whole = dates.map((date) => Math.floor(date.getTime() / 1000) * 1000);
      const der = await issueCrl(ca, { revoked: whole.map((date, index) => ({ serial: (index + 1).toString(16), date })) });
      expect(scanned(der).entries.map(({ at }) => at)).toEqual(whole);
    }), { numRuns: 50 });
  });

  it('reads scope, number of the base and reasons of a partitioned delta', async () => {
    const { crl } = scanned(await issueCrl(ca, {
      deltaBase: 3,
      number: 4,
      issuingDistributionPoint: { urls: ['http://pki.test/a.crl'], onlyContainsUserCerts: true, onlySomeReasons: ['keyCompromise'] },
    }));
    expect(crl.baseCrlNumber).toBe(3n);
    expect(crl.issuingDistributionPoint).toMatchObject({
      names: ['uri:http://pki.test/a.crl'], onlyContainsUserCerts: true, onlyContainsCACerts: false, indirect: false, onlySomeReasons: 0b10,
    });
  });

  it('gives an entry without certificateIssuer that of the entry before it', async () => {
    const other = await createAuthority({ name: 'Other CA' });
    const { crl, entries } = scanned(await issueCrl(ca, {
      issuingDistributionPoint: { indirectCRL: true },
      revoked: [
        { serial: '01' },
        { serial: '02', certificateIssuer: other.subject },
        { serial: '03' },
        { serial: '04', certificateIssuer: ca.subject },
      ],
    }));
    expect(entries.map(({ issuer }) => issuer)).toEqual([0, 1, 1, 0]);
    expect(crl.entryIssuers.map(formatName)).toEqual(['CN=Scan CA,O=Hospital', 'CN=Other CA']);
  });

  it('reports critical extensions that it does not know, of the list and of an entry', async () => {
    const critical = unknownExtension(true);
    expect(scanned(await issueCrl(ca, { extensions: [critical] })).crl.unknownCriticalExtensions).toEqual([critical.oid]);
    const revoked = [{ serial: '01', extensions: [critical] }];
    expect(scanned(await issueCrl(ca, { revoked })).crl.unknownCriticalExtensions).toEqual([critical.oid]);
    const harmless = unknownExtension(false);
    expect(scanned(await issueCrl(ca, { extensions: [harmless] })).crl.unknownCriticalExtensions).toEqual([]);
  });

  it('refuses octets after the list', async () => {
    const der = await issueCrl(ca);
    expect(malformed(Buffer.concat([der, Buffer.of(0)]))).toMatch(/too many/);
  });

  it('refuses a signature algorithm that is not the signed one', async () => {
    const der = await issueCrl(ca);
    const sha256 = Buffer.from('2a8648ce3d040302', 'hex');
    const outer = der.lastIndexOf(sha256);
    expect(outer).toBeGreaterThan(der.indexOf(sha256));
    der[outer + sha256.length - 1] = 3;
    expect(malformed(der)).toMatch(/differs from the signed one/);
  });

  it('refuses a list that is cut short anywhere', async () => {
    const der = await issueCrl(ca, { revoked: [{ serial: '01', reason: 'superseded' }] });
    for (let length = 0; length < der.length; length += 1) expect(malformed(der.subarray(0, length))).not.toBe('no error');
  });

  const entry = '0202' + '0101' + '170d' + '3236303130313030303030305a';
  it.each([
    ['a length that is not minimal', '028101' + '01' + '170d' + '3236303130313030303030305a', /length is not minimal/],
    ['a serial that is not minimal', '0202' + '0001' + '170d' + '3236303130313030303030305a', /serial is not minimal/],
    ['a negative serial that is not minimal', '0202' + 'ff81' + '170d' + '3236303130313030303030305a', /serial is not minimal/],
    ['something else for a serial', '0402' + '0101' + '170d' + '3236303130313030303030305a', /expected tag 0x2/],
    ['a date that does not exist', '0202' + '0101' + '170d' + '3236303233303030303030305a', /calendar/],
    ['a date with other characters', '0202' + '0101' + '170d' + '3236303130313030303030415a', /digits/],
    ['a date in no time zone', '0202' + '0101' + '170d' + '32363031303130303030303030', /end in Z/],
    ['a date of another type', '0202' + '0101' + '180d' + '3236303130313030303030305a', /not a time/],
  ])('refuses an entry with %s', async (_, changed, message) => {
    const der = await issueCrl(ca, { revoked: [{ serial: '0101', date: Date.UTC(2026, 0, 1) }] });
    const at = der.indexOf(Buffer.from(entry, 'hex'));
    expect(at).toBeGreaterThan(0);
    der.write(changed, at, 'hex');
    expect(malformed(der)).toMatch(message);
  });

  it('refuses extensions in a list of version 1', async () => {
    const der = await issueCrl(ca, { revoked: [{ serial: '01', reason: 'keyCompromise' }], version: 1 });
    expect(malformed(der)).toMatch(/entry extensions in a version 1 list/);
  });

  it('throws nothing but PkiError, whatever the octets', async () => {
    const der = await issueCrl(ca, {
      issuingDistributionPoint: { urls: ['http://pki.test/a.crl'], indirectCRL: true },
      deltaBase: 1,
      revoked: [
        { serial: '01', reason: 'keyCompromise' },
        { serial: '00abcd', certificateIssuer: ca.subject, invalidityDate: thisUpdate },
      ],
    });
    const change = fc.record({ at: fc.nat(der.length - 1), octet: fc.nat(255) });
    fc.assert(fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const mutated = Uint8Array.from(der);
      for (const { at, octet } of changes) mutated[at] = octet;
      malformed(mutated);
    }), { numRuns: 5000 });
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (octets) => {
      malformed(octets);
    }), { numRuns: 1000 });
  });

  it.skipIf(!existsSync(PKITS))('reads every CRL of PKITS but the one with a broken signature field', () => {
    const refused = readdirSync(PKITS).filter((file) => malformed(readFileSync(join(PKITS, file))) !== 'no error');
    expect(refused).toEqual(['BadCRLSignatureCACRL.crl']);
  });
});
