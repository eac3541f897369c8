import { describe, expect, it } from 'vitest';
import { admitUnknown, certificatesToCheck, combineStatuses, decideStatus, nextSource, UNCHECKED } from '../src/revocation/status.ts';
import type { GoodStatement, RevokedStatement, Statement, Status, UnavailableStatement } from '../src/revocation/status.ts';

const good = (fields: Partial<GoodStatement> = {}): GoodStatement => ({
  kind: 'good', source: 'crl', detail: 'not listed', at: 1000, thisUpdate: 900, validUntil: 2000, ...fields,
});
const revoked = (fields: Partial<RevokedStatement> = {}): RevokedStatement => ({
  kind: 'revoked', source: 'ocsp', detail: 'revoked', at: 1000, reason: 'keyCompromise', revokedAt: 500, ...fields,
});
const unavailable = (fields: Partial<UnavailableStatement> = {}): UnavailableStatement => ({
  kind: 'unavailable', source: 'crl', reason: 'crl_missing', detail: 'no CRL', at: 1000, ...fields,
});

describe('asking sources', () => {
  const sources = ['crl', 'ocsp'] as const;

  it('asks in the configured order until one is conclusive', () => {
    expect(nextSource(sources, [])).toBe('crl');
    expect(nextSource(sources, [good()])).toBeUndefined();
    expect(nextSource(sources, [revoked({ source: 'crl' })])).toBeUndefined();
    expect(nextSource(sources, [unavailable()])).toBe('ocsp');
    expect(nextSource(sources, [unavailable(), unavailable({ source: 'ocsp', reason: 'ocsp_unavailable' })])).toBeUndefined();
    expect(nextSource(['ocsp', 'crl'], [])).toBe('ocsp');
  });

  it('asks on when an expired list has the certificate on hold', () => {
    expect(nextSource(sources, [revoked({ source: 'crl', reason: 'certificateHold', provisional: true })])).toBe('ocsp');
  });
});

describe('the status of a certificate', () => {
  it('is good when a source says so, however many others were unavailable', () => {
    expect(decideStatus([unavailable(), good({ source: 'ocsp' })])).toEqual({ kind: 'good', source: 'ocsp', validUntil: 2000 });
  });

  it('is revoked when any source says so, even after a good', () => {
    expect(decideStatus([good(), revoked()])).toEqual({ kind: 'revoked', source: 'ocsp', detail: 'revoked', at: 500 });
    expect(decideStatus([revoked({ source: 'denylist' }), good()])).toMatchObject({ kind: 'revoked', source: 'denylist' });
  });

  it('stays revoked by an expired hold until a fresh source lifts it', () => {
    const hold = revoked({ source: 'crl', reason: 'certificateHold', provisional: true });
    expect(decideStatus([hold, unavailable({ source: 'ocsp', reason: 'ocsp_unavailable' })]).kind).toBe('revoked');
    expect(decideStatus([hold, good({ source: 'ocsp' })]).kind).toBe('good');
  });

  it('is unknown when every source was unavailable, for the reason that tells most', () => {
    const ocsp = unavailable({ source: 'ocsp', reason: 'ocsp_unavailable', detail: 'timeout' });
    expect(decideStatus([unavailable(), ocsp])).toEqual({ kind: 'unknown', reason: 'ocsp_unavailable', detail: 'no CRL; timeout' });
    expect(decideStatus([unavailable(), { ...ocsp, absent: true }])).toMatchObject({ kind: 'unknown', reason: 'crl_missing' });
    expect(decideStatus([{ ...ocsp, absent: true }])).toMatchObject({ kind: 'unknown', reason: 'ocsp_unavailable' });
    expect(decideStatus([unavailable({ reason: 'crl_expired' }), ocsp])).toMatchObject({ kind: 'unknown', reason: 'crl_expired' });
    expect(decideStatus([unavailable()])).toMatchObject({ kind: 'unknown', reason: 'crl_missing' });
  });

  it('is unknown, not good, when nobody was asked', () => {
    expect(decideStatus([]).kind).toBe('unknown');
  });

  it('remembers the last instant at which any source would have said good', () => {
    const statements: Statement[] = [unavailable({ reason: 'crl_expired', lastGoodAt: 10 }), unavailable({ source: 'ocsp', reason: 'ocsp_unavailable', lastGoodAt: 20 })];
    expect(decideStatus(statements)).toMatchObject({ kind: 'unknown', lastGoodAt: 20 });
  });
});

describe('the certificates of a path', () => {
  it('are those below the anchor, each with its issuer', () => {
    const path = ['leaf', 'issuing', 'root'];
    expect(certificatesToCheck(path, 'chain')).toEqual([
      { certificate: 'leaf', issuer: 'issuing', anchor: 'root' },
      { certificate: 'issuing', issuer: 'root', anchor: 'root' },
    ]);
    expect(certificatesToCheck(path, 'leaf')).toEqual([{ certificate: 'leaf', issuer: 'issuing', anchor: 'root' }]);
    expect(certificatesToCheck(path, 'off')).toEqual([]);
  });

  it('are none when the leaf itself is the anchor', () => {
    expect(certificatesToCheck(['pinned'], 'chain')).toEqual([]);
    expect(certificatesToCheck([], 'chain')).toEqual([]);
  });
});

describe('the status of a path', () => {
  const fine = (validUntil: number): Status => ({ kind: 'good', source: 'crl', validUntil });
  const doubt = (lastGoodAt?: number): Status => ({
    kind: 'unknown', reason: 'crl_expired', detail: 'expired', ...(lastGoodAt === undefined ? {} : { lastGoodAt }),
  });
  const bad: Status = { kind: 'revoked', source: 'crl', detail: 'revoked' };

  it('is the gravest of its members', () => {
    expect(combineStatuses([fine(1), doubt(), bad]).kind).toBe('revoked');
    expect(combineStatuses([fine(1), doubt()]).kind).toBe('unknown');
  });

  it('is good until the first of its members has to be asked again', () => {
    expect(combineStatuses([fine(3), fine(1), fine(2)])).toMatchObject({ kind: 'good', validUntil: 1 });
  });

  it('is unchecked when there is nothing to check', () => {
    expect(combineStatuses([])).toBe(UNCHECKED);
  });

  it('was last good when all its members in doubt were', () => {
    expect(combineStatuses([doubt(20), doubt(10), fine(1)])).toMatchObject({ kind: 'unknown', lastGoodAt: 10 });
    expect(combineStatuses([doubt(20), doubt()])).not.toHaveProperty('lastGoodAt');
  });
});

describe('an unknown status', () => {
  it('is refused by deny and admitted by allow', () => {
    expect(admitUnknown('deny', 1000, 1001)).toEqual({ kind: 'deny' });
    expect(admitUnknown('allow', undefined, 1001)).toEqual({ kind: 'admit', until: Infinity });
  });

  it('is admitted for the given time after the last good answer, and not a moment longer', () => {
    expect(admitUnknown({ allow_for: 500 }, 1000, 1499)).toEqual({ kind: 'admit', until: 1500 });
    expect(admitUnknown({ allow_for: 500 }, 1000, 1500)).toEqual({ kind: 'deny' });
  });

  it('gets no time when there never was a good answer', () => {
    expect(admitUnknown({ allow_for: 500 }, undefined, 1000)).toEqual({ kind: 'deny' });
  });
});
