import { Secret, TOTP } from 'otpauth';
import { describe, expect, it } from 'vitest';
import {
  failureAddress, forgiveAddress, FORGET_FAILURES_MS, judgeAddress, judgeInvitation, judgeRecovery, judgeSending, judgeSms, judgeTotp, lockedUntil, NO_ATTEMPTS, NO_FAILURES, readCode, readDigits, safeReturn, totpUri, writeCode, type Attempts, type Judged, type TotpSecret,
} from '../src/policy/second-factor.ts';
import { judgeSession, type Session } from '../src/policy/session.ts';

const NOW = Date.UTC(2026, 10, 22, 9, 0, 0);
// The secrets of RFC 6238 appendix B.
const ASCII = '12345678901234567890';
const SECRET: TotpSecret = { secret: Secret.fromUTF8(ASCII).base32, algorithm: 'SHA1' };
const codeAt = (time: number, { secret, algorithm } = SECRET): string => new TOTP({ secret: Secret.fromBase32(secret), algorithm }).generate({ timestamp: time });
const reasonOf = ({ verdict }: Judged<unknown>): string => (verdict.kind === 'good' ? 'good' : verdict.reason);
const failing = (times: number, now = NOW): Attempts => {
  let state = NO_ATTEMPTS;
  for (let count = 0; count < times; count++) state = judgeTotp(state, SECRET, 'x', now).state;
  return state;
};

describe('codes of an authenticator', () => {
  it.each([
    ['SHA1', ASCII, 59, '287082'], ['SHA1', ASCII, 1_111_111_109, '081804'], ['SHA1', ASCII, 1_234_567_890, '005924'], ['SHA1', ASCII, 20_000_000_000, '353130'],
    ['SHA256', '12345678901234567890123456789012', 59, '119246'], ['SHA256', '12345678901234567890123456789012', 1_111_111_109, '084774'],
  ] as const)('are those of RFC 6238: %s at %s', (algorithm, ascii, seconds, code) => {
    // Appendix B lists eight digits, of which these are the last six.
    expect(reasonOf(judgeTotp(NO_ATTEMPTS, { secret: Secret.fromUTF8(ascii).base32, algorithm }, code, seconds * 1000))).toBe('good');
  });

  it.each([[-2, 'code_wrong'], [-1, 'good'], [0, 'good'], [1, 'good'], [2, 'code_wrong']])('of a clock that is %i steps off: %s', (steps, expected) => {
    expect(reasonOf(judgeTotp(NO_ATTEMPTS, SECRET, codeAt(NOW + steps * 30_000), NOW))).toBe(expected);
  });

  it('are good once, and none before one that was taken is good', () => {
    const { state } = judgeTotp(NO_ATTEMPTS, SECRET, codeAt(NOW), NOW);
    expect(reasonOf(judgeTotp(state, SECRET, codeAt(NOW), NOW))).toBe('code_reused');
    expect(reasonOf(judgeTotp(state, SECRET, codeAt(NOW), NOW + 29_000))).toBe('code_reused');
    expect(reasonOf(judgeTotp(state, SECRET, codeAt(NOW - 30_000), NOW))).toBe('code_reused');
    expect(reasonOf(judgeTotp(state, SECRET, codeAt(NOW + 30_000), NOW + 30_000))).toBe('good');
  });

  it.each(['', '12345', '1234567', 'abcdef', '12345 ', '+12345', '1e5   ', '１２３４５６'])('are six digits: %j is none', (code) => {
    expect(reasonOf(judgeTotp(NO_ATTEMPTS, SECRET, code, NOW))).toBe('code_wrong');
  });

  it('may be typed with blanks and in full width', () => {
    expect(readDigits(' 123 456 ')).toBe('123456');
    expect(readDigits('１２３４５６')).toBe('123456');
  });

  it('are set up by a URI that says all of it', () => {
    const uri = totpUri({ ...SECRET, algorithm: 'SHA256' }, 'Hospital', 'urn:patient:1001');
    expect(uri).toBe(`otpauth://totp/Hospital:urn%3Apatient%3A1001?issuer=Hospital&secret=${SECRET.secret}&algorithm=SHA256&digits=6&period=30`);
  });
});

describe('guessing', () => {
  it('is locked out after five wrong codes, for twice as long with each further one, up to an hour', () => {
    expect(reasonOf(judgeTotp(failing(4), SECRET, codeAt(NOW), NOW))).toBe('good');
    const waits: number[] = [];
    let state = failing(5);
    let now = NOW;
    for (let round = 0; round < 8; round++) {
      const judged = judgeTotp(state, SECRET, codeAt(now), now);
      expect(reasonOf(judged)).toBe('locked');
      const until = judged.verdict.kind === 'refused' ? judged.verdict.retryAt as number : 0;
      waits.push((until - now) / 60_000);
      now = until;
      state = judgeTotp(state, SECRET, 'x', now).state;
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
  });

  it('does not lock out for longer by guesses while it is locked', () => {
    const locked = failing(5);
    expect(judgeTotp(locked, SECRET, 'x', NOW + 59_000).state).toBe(locked);
    expect(reasonOf(judgeTotp(locked, SECRET, codeAt(NOW + 60_000), NOW + 60_000))).toBe('good');
  });

  it('at one factor is not forgiven by right codes of another: who has the authenticator may not try card numbers for ever', () => {
    let state = NO_ATTEMPTS;
    for (let count = 0; count < 5; count++) {
      state = judgeSms({ ...state, sms: { digest: 'aa', expires: NOW + 1, tries: 3 } }, 'aa', false, NOW).state;
      const right = judgeTotp({ ...state, step: 0 }, SECRET, codeAt(NOW), NOW);
      expect(reasonOf(right)).toBe('good');
      ({ state } = right);
    }
    expect(reasonOf(judgeSms({ ...state, sms: { digest: 'aa', expires: NOW + 1, tries: 3 } }, 'aa', true, NOW))).toBe('locked');
    expect(reasonOf(judgeSending(state, 'aa', NOW))).toBe('locked');
    expect(reasonOf(judgeTotp({ ...state, step: 0 }, SECRET, codeAt(NOW), NOW))).toBe('good');
  });

  it('is forgotten with a right code, and after a day', () => {
    expect(judgeTotp(failing(4), SECRET, codeAt(NOW), NOW).state.failures).toEqual({});
    expect(lockedUntil({ count: 30, last: NOW }, NOW + FORGET_FAILURES_MS)).toBe(0);
  });

  it('counts for an address as well, whoever it is', () => {
    let failures = NO_FAILURES;
    for (let count = 0; count < 50; count++) failures = judgeAddress(failures, NOW).state;
    expect(reasonOf(judgeAddress(failures, NOW))).toBe('locked');
    expect(reasonOf(judgeAddress(failures, NOW + 119_000))).toBe('locked');
    expect(reasonOf(judgeAddress(failures, NOW + 120_000))).toBe('good');
  });

  it('fades for an address, and neither right codes nor refusals keep it up: a few wrong ones a day shut out no house', () => {
    let failures = NO_FAILURES;
    for (let count = 0; count < 50; count++) failures = judgeAddress(failures, NOW).state;
    for (let minute = 1; minute <= 60; minute++) {
      const { state, verdict } = judgeAddress(failures, NOW + minute * 60_000);
      failures = verdict.kind === 'good' ? forgiveAddress(state) : state;
    }
    expect(failures.count).toBeCloseTo(20);
    for (let day = 0; day < 200; day++) {
      failures = judgeAddress(failures, NOW + day * 3_600_000).state;
      expect(reasonOf(judgeAddress(failures, NOW + day * 3_600_000))).toBe('good');
    }
  });

  it('from one IPv6 network is from one address', () => {
    expect(failureAddress('10.0.0.1')).toBe('10.0.0.1');
    expect(failureAddress('2001:db8::1')).toBe(failureAddress('2001:0db8:0:0:ffff::'));
    expect(failureAddress('2001:db8:0:1::1')).not.toBe(failureAddress('2001:db8::1'));
  });
});

describe('recovery codes and invitations', () => {
  it('are good once each', () => {
    const known = ['aa', 'bb'];
    const first = judgeRecovery(NO_ATTEMPTS, 'aa', known, NOW);
    expect(reasonOf(first)).toBe('good');
    expect(reasonOf(judgeRecovery(first.state, 'aa', known, NOW))).toBe('code_reused');
    expect(reasonOf(judgeRecovery(first.state, 'bb', known, NOW))).toBe('good');
    expect(reasonOf(judgeRecovery(first.state, 'cc', known, NOW))).toBe('code_wrong');
    let state = NO_ATTEMPTS;
    for (let count = 0; count < 5; count++) ({ state } = judgeRecovery(state, 'cc', known, NOW));
    expect(reasonOf(judgeRecovery(state, 'bb', known, NOW))).toBe('locked');
  });

  it('end at their time', () => {
    const invitation = { digest: 'aa', expires: NOW };
    expect(reasonOf(judgeInvitation(NO_ATTEMPTS, 'aa', invitation, NOW - 1))).toBe('good');
    expect(reasonOf(judgeInvitation(NO_ATTEMPTS, 'aa', invitation, NOW))).toBe('invitation_expired');
    expect(reasonOf(judgeInvitation(NO_ATTEMPTS, 'ab', invitation, NOW - 1))).toBe('invitation_wrong');
    expect(reasonOf(judgeInvitation(NO_ATTEMPTS, 'aa', undefined, NOW))).toBe('invitation_wrong');
  });

  it('are read as people write them', () => {
    const code = writeCode(Uint8Array.from([255, 1, 2, 3, 4, 5, 6, 7, 8, 250]));
    expect(code).toMatch(/^[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}$/);
    const plain = code.replaceAll('-', '');
    expect(readCode(code)).toBe(plain);
    expect(readCode(` ${code.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l')} `)).toBe(plain);
    expect(readCode(plain.slice(1))).toBeUndefined();
    expect(readCode(`${plain.slice(1)}U`)).toBeUndefined();
  });
});

describe('codes by SMS', () => {
  const sent = judgeSending(NO_ATTEMPTS, 'aa', NOW).state;

  it('are good once, with the card, for five minutes', () => {
    expect(reasonOf(judgeSms(sent, 'aa', true, NOW + 299_000))).toBe('good');
    expect(reasonOf(judgeSms(sent, 'aa', true, NOW + 300_000))).toBe('code_expired');
    expect(reasonOf(judgeSms(judgeSms(sent, 'aa', true, NOW).state, 'aa', true, NOW))).toBe('code_expired');
  });

  it('are refused alike for a wrong code and a wrong card, and gone after three tries', () => {
    let judged = judgeSms(sent, 'aa', false, NOW);
    expect(reasonOf(judged)).toBe('code_wrong');
    judged = judgeSms(judged.state, 'bb', true, NOW);
    expect(reasonOf(judged)).toBe('code_wrong');
    judged = judgeSms(judged.state, 'bb', true, NOW);
    expect(reasonOf(judgeSms(judged.state, 'aa', true, NOW))).toBe('code_expired');
  });

  it('are sent once a minute and five times an hour', () => {
    expect(reasonOf(judgeSending(sent, 'bb', NOW + 59_999))).toBe('sms_too_soon');
    let state = sent;
    for (let minute = 1; minute < 5; minute++) state = judgeSending(state, 'bb', NOW + minute * 60_000).state;
    const sixth = judgeSending(state, 'bb', NOW + 5 * 60_000);
    expect(sixth.verdict).toMatchObject({ reason: 'sms_too_soon', retryAt: NOW + 3_600_000 });
    expect(reasonOf(judgeSending(state, 'bb', NOW + 3_600_000))).toBe('good');
  });
});

describe('sessions', () => {
  const limits = { lifetime: 3_600_000, idle: 900_000 };
  const bearer = { subject: { role: 'patient', id: '1001' }, certificate: 'aa' };
  const session: Session = { subject: bearer.subject, certificate: 'aa', factors: { totp: NOW }, opened: NOW, seen: NOW, form: 'x' };
  const judge = (changed: Partial<Session>, now = NOW, by = bearer) => judgeSession({ ...session, ...changed }, by, limits, now);

  it('last an hour, and fifteen minutes without use', () => {
    expect(judge({}, NOW + 899_999)).toEqual({ kind: 'valid', factors: ['totp'], until: NOW + 3_600_000 });
    expect(judge({}, NOW + 900_000)).toMatchObject({ reason: 'session_idle' });
    expect(judge({ seen: NOW + 3_599_000 }, NOW + 3_599_999)).toMatchObject({ kind: 'valid' });
    expect(judge({ seen: NOW + 3_599_000 }, NOW + 3_600_000)).toMatchObject({ reason: 'session_expired' });
  });

  it('are bound to their certificate and person, whatever else is the matter with them', () => {
    expect(judge({}, NOW, { ...bearer, certificate: 'bb' })).toMatchObject({ reason: 'session_other_certificate' });
    expect(judge({}, NOW, { ...bearer, subject: { role: 'doctor', id: '1001' } })).toMatchObject({ reason: 'session_other_certificate' });
    expect(judge({ ended: 'signed_out' }, NOW + 9e9, { ...bearer, certificate: 'bb' })).toMatchObject({ reason: 'session_other_certificate' });
  });

  it('lasts no longer than the first of its factors: another one, shown later, prolongs no stream that stands on it', () => {
    const both = { opened: NOW + 3_540_000, seen: NOW + 3_540_000, factors: { totp: NOW, sms: NOW + 3_540_000 } };
    expect(judge(both, NOW + 3_540_000)).toEqual({ kind: 'valid', factors: ['totp', 'sms'], until: NOW + 3_600_000 });
    expect(judge(both, NOW + 3_600_000)).toEqual({ kind: 'valid', factors: ['sms'], until: NOW + 7_140_000 });
  });

  it('say why they are not honoured', () => {
    expect(judgeSession(undefined, bearer, limits, NOW)).toMatchObject({ reason: 'session_unknown' });
    expect(judge({ ended: 'signed_out' })).toMatchObject({ reason: 'session_ended', detail: 'signed out' });
    expect(judge({ factors: {} })).toEqual({ kind: 'none' });
  });

  it('keep a factor no longer than an hour when another is added', () => {
    expect(judge({ factors: { totp: NOW - 1_800_000, sms: NOW } }, NOW + 1)).toMatchObject({ factors: ['totp', 'sms'] });
    expect(judge({ factors: { totp: NOW - 3_600_000, sms: NOW } }, NOW + 1)).toMatchObject({ factors: ['sms'] });
  });
});

describe('the way back', () => {
  it.each(['/records', '/records?patient=1&x=%2F', '/', '/a/b#c'])('leads to %s', (path) => {
    expect(safeReturn(path)).toBe(path);
  });

  it.each([
    undefined, '', 'records', '//evil.test', '/\\evil.test', 'https://evil.test', 'javascript:alert(1)', '/\t/evil.test', '/records\r\nset-cookie: a=b', '/a\\b', '/.wardgate/logout', '/ü', `/${'a'.repeat(3000)}`,
  ])('never leads to %j', (path) => {
    expect(safeReturn(path)).toBeUndefined();
  });
});
