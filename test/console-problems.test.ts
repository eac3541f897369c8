import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { problemsOf, type StatusPart } from '../src/admin/console/problems.ts';

const NOW = Date.UTC(2026, 10, 22, 12);
const DAY_MS = 86_400_000;
const iso = (at: number): string => new Date(at).toISOString();

const well: StatusPart = {
  config: { loaded_at: iso(NOW) }, certificates: { servers: [{ listener: 'clinical', certificate: 'a.pem' }] }, backups: [{ run: 'backup', missed: false }], temporary: [], pressure: [],
  crls: { report: [{ issuer: 'CN=CA', source: 'a.crl', nextUpdate: NOW + 1 }], problems: [], sources: [{ source: 'a.crl' }] }, ocsp: { responders: [{ responder: 'http://r', last_success: iso(NOW) }] },
  suspensions: [], draining: [], break_glass: { open: 0, unreviewed: 0 }, alarms: { open: 0 }, upstreams: [{ upstream: 'records', endpoints: [{ endpoint: 'https://a', up: true }] }], tokens: [{ tokens: 'idp' }],
  store: { connected: true }, audit: { failing: [], feed: { up: true, consumers: [{ name: 'siem' }] } },
};
const codes = (status: Partial<StatusPart>, notAfter = NOW + 365 * DAY_MS): string[] =>
  problemsOf({ status: { ...well, ...status }, certificates: [{ use: 'listener clinical', notAfter }], now: NOW }).map(({ severity, code }) => `${severity} ${code}`);

describe('what is wrong', () => {
  test('has a text and something to do, in either language', () => {
    const codesOf = (text: string): string[] => [...text.matchAll(/(?<=[{,]\s+)([a-z_]+): (?:'|\()/g)].map(([, code = '']) => code).sort();
    const words = readFileSync(new URL('../src/admin/console/assets/words.js', import.meta.url), 'utf8');
    const [known = '', ...parts] = [/type ProblemCode =([^;]*);/.exec(readFileSync(new URL('../src/admin/console/problems.ts', import.meta.url), 'utf8'))?.[1], ...[...words.matchAll(/^  (?:problems|todo): \{.*?^  \},$/gms)].map(([part]) => part)];
    expect(parts).toHaveLength(4);
    for (const part of parts) expect(codesOf(part)).toEqual([...known.matchAll(/'([a-z_]+)'/g)].map(([, code]) => code).sort());
  });

  test('is nothing where all is well', () => expect(codes({})).toEqual([]));

  test.each<readonly [string, Partial<StatusPart>, string]>([
    ['the audit cannot be written', { audit: { failing: ['ENOSPC'] } }, 'bad audit_failing'],
    ['a sink takes nothing', { audit: { failing: [], feed: { up: true, consumers: [{ name: 'siem', failing: 'refused' }] } } }, 'warn sink_failing'],
    ['an upstream serves nobody', { upstreams: [{ upstream: 'a', endpoints: [{ endpoint: 'https://a', up: false }] }] }, 'bad upstream_down'],
    ['one of two endpoints is away', { upstreams: [{ upstream: 'a', endpoints: [{ endpoint: 'https://a', up: false }, { endpoint: 'https://b', up: true }] }] }, 'warn endpoint_down'],
    ['a CRL has ended', { crls: { ...well.crls, report: [{ issuer: 'CN=CA', source: 'a.crl', nextUpdate: NOW }] } }, 'bad crl_expired'],
    ['a responder fails since it last answered', { ocsp: { responders: [{ responder: 'http://r', last_success: iso(NOW - 1), last_error: { at: iso(NOW), detail: 'timeout' } }] } }, 'warn responder_failing'],
    ['a reload was refused', { config: { loaded_at: iso(NOW), last_error: 'routes[0]: …' } }, 'bad reload_failed'],
    ['an alarm is open', { alarms: { open: 1 } }, 'bad alarms_open'],
    ['an emergency waits for its review', { break_glass: { open: 0, unreviewed: 1 } }, 'warn reviews_due'],
    ['an emergency is open, which nobody can review yet', { break_glass: { open: 1, unreviewed: 1 } }, 'warn emergencies_open'],
    ['a backup was missed', { backups: [{ run: 'backup', missed: true }] }, 'warn backup_missed'],
    ['a certificate cannot be shown', { certificates: { servers: [{ listener: 'clinical', certificate: 'a.pem', detail: 'revoked' }] } }, 'warn server_certificate'],
    ['a node takes nothing new', { draining: [{}] }, 'warn draining'],
    ['the other gateways are away', { store: { connected: false } }, 'bad replicas_apart'],
  ])('is said when %s', (_, status, problem) => expect(codes(status)).toEqual([problem]));

  test('is said of certificates a month before their end, and is bad in the last week', () => {
    expect([40, 20, 5, -1].map((days) => codes({}, NOW + days * DAY_MS))).toEqual([[], ['warn certificate_expiring'], ['bad certificate_expiring'], ['bad certificate_expired']]);
  });

  test('is not what a responder failed at before it last answered', () => {
    expect(codes({ ocsp: { responders: [{ responder: 'http://r', last_success: iso(NOW), last_error: { at: iso(NOW - 1), detail: 'timeout' } }] } })).toEqual([]);
  });

  test('begins with what is worst', () => {
    expect(codes({ break_glass: { open: 1, unreviewed: 0 }, alarms: { open: 2 } })).toEqual(['bad alarms_open', 'warn emergencies_open']);
  });
});
