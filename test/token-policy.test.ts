import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createTokenDesk } from '../src/forward/token-desk.ts';
import { createKeyRegister } from '../src/forward/token-keys.ts';
import { readKeySet } from '../src/pki/jwks.ts';
import { covers, parseScope } from '../src/policy/scopes.ts';
import { judgeToken, readClaims, type TokenClaims, type TokenRule } from '../src/policy/token.ts';
import { signed, signingKey } from './support/tokens.ts';

const octets = (value: unknown): Uint8Array => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value));

describe('a key set', () => {
  const good = signingKey('good');
  const read = (...keys: unknown[]) => readKeySet(octets({ keys: [good.jwk, ...keys] }));
  const leaky = signingKey('leaky').privateKey.export({ format: 'jwk' });

  it.each([
    ['symmetric', { kty: 'oct', k: 'c2VjcmV0' }, 'of a kind'], ['of another curve', signingKeyOf('secp256k1'), 'of a kind'], ['P-521', signingKeyOf('P-521'), 'of a kind'],
    ['published with its private half', { ...leaky, kid: 'leaky' }, 'private half'], ['for encryption', { ...signingKey('x').jwk, use: 'enc' }, 'not for signatures'],
    ['for other operations', { ...signingKey('x').jwk, key_ops: ['deriveKey'] }, 'not for signatures'], ['for another algorithm than its kind has', { ...signingKey('x').jwk, alg: 'ES384' }, 'algorithm'],
    ['for a symmetric algorithm', { ...signingKey('x').jwk, alg: 'HS256' }, 'algorithm'], ['off its curve', { kty: 'EC', crv: 'P-256', x: Buffer.alloc(32, 1).toString('base64url'), y: Buffer.alloc(32, 2).toString('base64url') }, 'cannot be read'],
    ['RSA of 1024 bits', signingKey('x', 'RS256', 1024).jwk, '1024 bits'], ['RSA with an exponent of 3', exponent(3), 'exponent'], ['without a modulus', { kty: 'RSA', e: 'AQAB' }, 'cannot be read'],
    ['no object', 'x', 'no object'], ['of a kind that is no text', { kty: { toString: 1 }, crv: [] }, 'of a kind'], ['of an inherited kind', { kty: 'constructor', crv: '__proto__' }, 'of a kind'], ['named by a number', { ...signingKey('x').jwk, kid: 7 }, 'kid'], ['named at length', { ...signingKey('x').jwk, kid: 'x'.repeat(257) }, 'kid'],
  ])('is left without a key that is %s, and keeps the others', (_name, key, why) => {
    expect(read(key)).toMatchObject({ kind: 'set', keys: [{ kid: 'good', algorithms: ['ES256'] }], ignored: [expect.stringContaining(why)] });
  });

  it.each([['no JSON', 'x'], ['no object', '[]'], ['without keys', '{}'], ['of no list', '{"keys":{}}'], ['of very many', JSON.stringify({ keys: Array.from({ length: 65 }, () => ({})) })], ['very large', JSON.stringify({ keys: [], pad: 'x'.repeat(300_000) })]])('that is %s is none', (_name, text) => {
    expect(readKeySet(octets(text)).kind).toBe('fault');
  });

  it('may be empty: its issuer has taken all back', () => {
    expect(readKeySet(octets({ keys: [] }))).toEqual({ kind: 'set', keys: [], ignored: [] });
  });

  it('says by which algorithms each key verifies', () => {
    const rsa = signingKey('rsa', 'RS256').jwk;
    const found = readKeySet(octets({ keys: [rsa, { ...rsa, alg: 'PS256' }, signingKey('ed', 'EdDSA').jwk, { ...signingKey('ed', 'EdDSA').jwk, alg: 'EdDSA' }, signingKey('p384', 'ES384').jwk] }));
    expect(found.kind === 'set' ? found.keys.map(({ algorithms }) => algorithms) : []).toEqual([['PS256', 'PS384', 'RS256', 'RS384'], ['PS256'], ['EdDSA', 'Ed25519'], ['EdDSA', 'Ed25519'], ['ES384']]);
  });

  function signingKeyOf(namedCurve: string): unknown {
    return generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' });
  }

  function exponent(publicExponent: number): unknown {
    return generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent }).publicKey.export({ format: 'jwk' });
  }
});

describe('a scope', () => {
  it.each([
    ['patient/*.rs', 'patient/Observation.r', true], ['patient/*.rs', 'patient/*.read', true], ['patient/*.read', 'patient/*.rs', true], ['user/*.*', 'user/Patient.cud', true], ['launch', 'launch', true],
    ['patient/Observation.rs?category=a', 'patient/Observation.rs?category=a', true], ['patient/Observation.rs', 'patient/Observation.rs?category=a', true], ['patient/*.cruds', 'patient/Observation.s', true],
    ['patient/Observation.r', 'patient/*.r', false], ['patient/Observation.r', 'patient/Observation.rs', false], ['patient/Observation.rs?category=a', 'patient/Observation.rs', false], ['user/*.rs', 'patient/*.rs', false],
    ['patient/*.rs', 'launch/patient', false], ['patient/*.sr', 'patient/Observation.r', false], ['patient/*.', 'patient/Observation.r', false], ['*/*.*', 'patient/Observation.r', false], ['*', 'launch', false], ['patient/Obs*.rs', 'patient/Observation.r', false],
  ])('%s covers %s: %s', (held, wanted, expected) => {
    expect(covers(parseScope(held), parseScope(wanted))).toBe(expected);
  });
});

describe('a token that was verified', () => {
  const rule: TokenRule = { from: 'ehr', issuer: 'i', audience: ['a'], skew: 1_000, scopes: undefined, grants: [], mayLetIn: false };
  const certificate = 'ab'.repeat(32);
  const claims = readClaims({ iss: 'i', aud: 'a', exp: 100, nbf: 50, iat: 50, cnf: { 'x5t#S256': Buffer.from(certificate, 'hex').toString('base64url') } }) as TokenClaims;
  const judge = (now: number, of = rule) => {
    const verdict = judgeToken(of, { kind: 'signed', from: 'ehr', key: 'k', claims, until: 0 }, certificate, now);
    return verdict.kind === 'refused' ? verdict.reason : 'good';
  };

  it('is good from the first moment to the last, give or take the skew', () => {
    expect([48_999, 49_000, 100_999, 101_000].map((now) => judge(now))).toEqual(['token_not_yet_valid', 'good', 'good', 'token_expired']);
  });

  it('is nothing to a route that has come to take those of another issuer', () => {
    expect(judge(60_000, { ...rule, from: 'other' })).toBe('token_issuer');
  });
});

describe('the verification of tokens', () => {
  const key = signingKey('known');
  const set = readKeySet(octets({ keys: [key.jwk] }));
  const rule: TokenRule = { from: 'ehr', issuer: 'i', audience: ['a'], skew: 0, scopes: undefined, grants: [], mayLetIn: false };
  const issuers = new Map([['ehr', { source: 's', algorithms: ['ES256'] }]]);
  const fields = (token: string): readonly string[] => ['authorization', `Bearer ${token}`];

  function register(until = Infinity) {
    const keys = createKeyRegister();
    keys.take([{ source: 's', keys: set.kind === 'set' ? set.keys : [], until }]);
    return keys;
  }

  it('asks for keys once, however many tokens name unknown ones at a time, and not before it makes sense again', async () => {
    const asked: string[] = [];
    let now = 0;
    const answer = Promise.withResolvers<number>();
    const desk = createTokenDesk({ issuers, keys: register(), refresh: (source) => (asked.push(source), answer.promise), now: () => now });
    const made = await Promise.all(Array.from({ length: 100 }, (_, index) => signed({ ...key, kid: `unknown-${index}` }, { exp: 1 })));
    const found = Promise.all(made.map((token) => desk.find(rule, fields(token))));
    answer.resolve(1_000);
    expect(new Set((await found).map((one) => one.kind === 'refused' && one.reason))).toEqual(new Set(['token_signature']));
    expect(asked).toEqual(['s']);
    now = 999;
    await desk.find(rule, fields(made[0] as string));
    expect(asked).toEqual(['s']);
    now = 1_000;
    await desk.find(rule, fields(made[0] as string));
    expect(asked).toEqual(['s', 's']);
  });

  it('ends with a refusal when nobody answers for the keys', async () => {
    const desk = createTokenDesk({ issuers, keys: createKeyRegister(), refresh: () => Promise.reject(new Error('no answer')), now: () => 0 });
    expect(await desk.find(rule, fields(await signed(key, { exp: 1 })))).toMatchObject({ kind: 'refused', reason: 'token_unverifiable' });
  });

  it('remembers a signature as long as its key is there, and no longer', async () => {
    const keys = register();
    const desk = createTokenDesk({ issuers, keys, refresh: () => Promise.resolve(Infinity), now: () => 0 });
    const token = await signed(key, { exp: 1 });
    const found = await desk.find(rule, fields(token));
    expect(found).toMatchObject({ kind: 'signed', claims: { expires: 1_000 } });
    expect(await desk.find(rule, fields(token))).toEqual(found);
    expect(desk.again(found)).toBe(found);
    expect(keys.take([{ source: 's', keys: [], until: Infinity }])).toBe(true);
    expect(await desk.find(rule, fields(token))).toMatchObject({ kind: 'refused', reason: 'token_signature' });
    expect(desk.again(found)).toMatchObject({ kind: 'refused', reason: 'token_signature' });
  });

  it('believes no keys that are too old, for tokens that it remembers either', async () => {
    let now = 0;
    const desk = createTokenDesk({ issuers, keys: register(500), refresh: () => Promise.resolve(Infinity), now: () => now });
    const token = await signed(key, { exp: 1 });
    expect((await desk.find(rule, fields(token))).kind).toBe('signed');
    now = 500;
    expect(await desk.find(rule, fields(token))).toMatchObject({ kind: 'refused', reason: 'token_unverifiable' });
  });
});
