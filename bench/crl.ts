import type { RevokedEntry } from '../src/ca/issue.ts';

/** Octets of each serial number in `serials`. */
export const SERIAL_OCTETS = 16;

/** The entries of a large CRL: those whose serial numbers are `listed`, then as many as `serials` (random, 16 octets each, made positive in place) has room for. */
export function* crlEntries(serials: Buffer, listed: readonly string[] = [], more: (index: number) => Omit<RevokedEntry, 'serial'> = () => ({})): Generator<RevokedEntry> {
  for (const serial of listed) yield { serial, reason: 'keyCompromise' };
  for (let index = listed.length; index < serials.length / SERIAL_OCTETS; index++) {
    const serial = serials.subarray(index * SERIAL_OCTETS, (index + 1) * SERIAL_OCTETS);
    // They begin with 40 to 7f; those of our own certificates are shorter or do not.
    serial[0] = 0x40 | ((serial[0] as number) & 0x3f);
    yield { serial: serial.toString('hex'), ...more(index) };
  }
}

/** A third with a reason, dates all over: what CAs really issue. */
export function usual(index: number): Omit<RevokedEntry, 'serial'> {
  return { date: Date.UTC(2024, index % 12, 1 + (index % 28)), ...(index % 3 === 0 ? { reason: 'keyCompromise' as const } : {}) };
}

export function crlPem(der: Uint8Array): string {
  return `-----BEGIN X509 CRL-----\n${Buffer.from(der).toString('base64').replace(/.{64}(?=.)/g, '$&\n')}\n-----END X509 CRL-----\n`;
}
