import { createHmac } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { invite } from '../src/cli/factor.ts';
import { startBackend, type Backend } from './support/backend.ts';
import { wardgate } from './support/command.ts';
import { browserOver, codeAt } from './support/factor.ts';
import { ask, exchange, openTls, startGateway, type AskOptions, type Reply, type TestGateway } from './support/gateway.ts';
import { askHttp2, openHttp2 } from './support/http2.ts';
import { testPki, type Issued, type TestPki } from './support/pki.ts';
import { assembled, AUDIENCE, claimsFor, ISSUER, signed, signingKey, startIssuer, thumbprint, type SigningKey, type TestIssuer } from './support/tokens.ts';

const ROUTES = `
  - { name: fhir, match: { path: /fhir/* }, allow: [patient, doctor], upstream: records, require: { token: { from: ehr, scopes: [patient/Observation.r] } } }
  - { name: plain, match: { path: /plain/* }, allow: [patient], upstream: records, require: { token: { from: ehr } } }
  - { name: kept, match: { path: /kept }, allow: [patient], upstream: records, require: { token: { from: ehr, forward: false } } }
  - { name: analysis, match: { path: /analysis }, allow: [analyst], upstream: records, forward: { roles: true }, require: { token: { from: ehr } } }
  - { name: limited, match: { path: /limited }, allow: [patient], upstream: records, limits: { rate: [2/hour] }, require: { token: { from: ehr } } }
  - { name: named, match: { path: "/named/:id" }, allow: [patient, analyst], upstream: records, patient: { path: id, id: "urn:patient:*" }, require: { token: { from: ehr } } }
  - { name: filed, match: { path: /filed }, allow: [patient], upstream: records, require: { token: { from: filed } } }
  - { name: glass, match: { path: /glass }, allow: [doctor], upstream: records, break_glass: { roles: [patient], reasons: [emergency], patient: optional }, require: { token: { from: ehr } } }
  - { name: both, match: { path: /both }, allow: [patient], upstream: records, require: { second_factor: totp, token: { from: ehr } } }
  - { name: open, match: { path: /open }, allow: [patient], upstream: records }
  - { name: doctors, match: { path: /doctors }, allow: [doctor], upstream: records, require: { token: { from: ehr } } }`;

let pki: TestPki;
let backend: Backend;
let issuer: TestIssuer;
let gateway: TestGateway;
let keys: Readonly<Record<'ec' | 'rsa' | 'ps' | 'ed' | 'p384', SigningKey>>;
let stranger: SigningKey;
let filedKey: SigningKey;

beforeAll(async () => {
  pki = await testPki();
  backend = await startBackend(pki);
  keys = { ec: signingKey('ec'), rsa: signingKey('rsa', 'RS256'), ps: signingKey('ps', 'PS256'), ed: signingKey('ed', 'EdDSA'), p384: signingKey('p384', 'ES384') };
  stranger = signingKey('ec');
  filedKey = signingKey('of-a-file');
  issuer = await startIssuer(pki, Object.values(keys));
  gateway = await startGateway(pki, backend.port, {
    routes: ROUTES,
    top: `tokens:
  ehr: { issuer: "${ISSUER}", audience: "${AUDIENCE}", jwks: { url: "${issuer.url}", trust: backend-ca.pem }, roles: { "system/*.read": analyst } }
  filed: { issuer: "${ISSUER}", audience: [other, "${AUDIENCE}"], jwks: { file: keys.json }, algorithms: [ES256], skew: 1s }`,
    files: { 'keys.json': JSON.stringify({ keys: [filedKey.jwk] }) },
  });
});

afterAll(async () => {
  await gateway.stop();
  await issuer.close();
  await backend.close();
});

const bearer = (token: string, scheme = 'Bearer') => ({ headers: { authorization: `${scheme} ${token}` } });
/** Every request on a connection of its own: they spread over both threads. */
const get = (path: string, options: AskOptions = {}): Promise<Reply> => ask(pki, gateway.port, path, { client: pki.patient, ...options });
const good = (more: Readonly<Record<string, unknown>> = {}, client: Issued = pki.patient): Promise<string> => signed(keys.ec, claimsFor(client, more));

async function recordOf({ headers }: Pick<Reply, 'headers'>): Promise<Record<string, unknown>> {
  const id = headers['x-request-id'];
  const found = (await gateway.records()).find((record) => record['request_id'] === id);
  if (found === undefined) throw new Error(`no record of ${String(id)}`);
  return found;
}

/** The reason on record of a request with this token, after what the client was told has been held to it. */
async function refusal(token: string, path = '/fhir/Observation/1', client: Issued = pki.patient): Promise<unknown> {
  const before = backend.seen.length;
  const reply = await get(path, { client, ...bearer(token) });
  expect(backend.seen.length).toBe(before);
  const { reason } = await recordOf(reply);
  if (reason === 'token_scope') {
    expect([reply.status, reply.json()['code'], reply.headers['www-authenticate']]).toEqual([403, 'role_denied', 'Bearer error="insufficient_scope"']);
  } else {
    expect([reply.status, reply.json()['code'], reply.headers['www-authenticate']]).toEqual([401, 'invalid_token', reason === 'token_missing' ? 'Bearer' : 'Bearer error="invalid_token"']);
  }
  return reason;
}

const seconds = (): number => Math.floor(Date.now() / 1000);

describe('a token that is bound to the certificate', () => {
  it.each(['ec', 'rsa', 'ps', 'ed', 'p384'] as const)('lets its client in, signed with %s', async (name) => {
    const reply = await get('/fhir/Observation/1', bearer(await signed(keys[name], claimsFor(pki.patient))));
    expect(reply.status).toBe(200);
  });

  it('is taken under its other names: EdDSA is Ed25519, and a type of JWT is none', async () => {
    expect((await get('/plain/1', bearer(await signed({ ...keys.ed, alg: 'Ed25519' }, claimsFor(pki.patient))))).status).toBe(200);
    expect((await get('/plain/1', bearer(await signed(keys.ec, claimsFor(pki.patient), { typ: 'JWT' })))).status).toBe(200);
  });

  it('passes to the upstream as it came, and not where the route keeps it', async () => {
    const token = await good();
    await get('/fhir/Observation/1', bearer(token));
    expect(backend.seen.at(-1)?.headers['authorization']).toBe(`Bearer ${token}`);
    expect((await get('/kept', bearer(token))).status).toBe(200);
    expect(backend.seen.at(-1)?.headers).not.toHaveProperty('authorization');
  });

  it('is taken with the scheme in lower case, and with more than one blank', async () => {
    expect((await get('/plain/1', bearer(await good(), 'bearer'))).status).toBe(200);
    expect((await get('/plain/1', bearer(await good(), 'BEARER  '))).status).toBe(200);
  });

  it('is on record by its issuer, id, client and scope, and neither itself nor whom it is about', async () => {
    const token = await good({ jti: 'jti-17' });
    const record = await recordOf(await get('/fhir/Observation/1', bearer(token)));
    expect(record).toMatchObject({ result: 'permitted', role: 'patient', token_issuer: ISSUER, token_id: 'jti-17', token_client: 'app-7', token_scope: 'patient/*.rs launch/patient' });
    const all = JSON.stringify(await gateway.records());
    expect(all).not.toContain('patient-1001-secret');
    for (const part of token.split('.')) expect(all).not.toContain(part);
  });

  it('lets in over HTTP/2, stream by stream', async () => {
    const session = await openHttp2(pki, gateway.port, { client: pki.patient });
    try {
      const token = await good();
      const [one, other, without] = await Promise.all([
        askHttp2(session, '/fhir/Observation/1', { headers: { authorization: `Bearer ${token}` } }),
        askHttp2(session, '/fhir/Observation/2', { headers: { authorization: `Bearer ${token.slice(0, -8)}AAAAAAAA` } }),
        askHttp2(session, '/fhir/Observation/3'),
      ]);
      expect([one.status, other.status, without.status]).toEqual([200, 401, 401]);
      expect([other.headers['www-authenticate'], without.headers['www-authenticate']]).toEqual(['Bearer error="invalid_token"', 'Bearer']);
      expect([(await recordOf(other))['reason'], (await recordOf(without))['reason']]).toEqual(['token_signature', 'token_missing']);
    } finally {
      session.destroy();
    }
  });

  it('is asked for with every request of a connection, kept-alive ones on the fast path too', async () => {
    const socket = await openTls(pki, gateway.port, { client: pki.patient });
    const token = await good();
    const request = (authorization: string): string => `GET /plain/1 HTTP/1.1\r\nHost: localhost\r\n${authorization}\r\n`;
    const answers = async (authorization: string): Promise<string> => (await exchange(socket, request(authorization), (text) => /\r\n\r\n[\s\S]*(hello|\})/.test(text))).slice(9, 12);
    expect([await answers(''), await answers(`Authorization: Bearer ${token}\r\n`), await answers(''), await answers(`Authorization: Bearer ${token}\r\n`)]).toEqual(['401', '200', '401', '200']);
    socket.destroy();
  });

  it('counts against limits only when it is good', async () => {
    const token = await good();
    const statuses = [];
    for (const one of ['x.y.z', token, 'x.y.z', token, token]) statuses.push((await get('/limited', bearer(one))).status);
    expect(statuses).toEqual([401, 200, 401, 200, 429]);
  });

  it('is verified by the keys of a file, for one of several audiences', async () => {
    expect((await get('/filed', bearer(await signed(filedKey, claimsFor(pki.patient))))).status).toBe(200);
    expect((await get('/filed', bearer(await signed(filedKey, claimsFor(pki.patient, { aud: ['x', 'other'] }))))).status).toBe(200);
    expect(await refusal(await good(), '/filed')).toBe('token_signature');
  });

  it('need not name the key of an issuer who has no other', async () => {
    expect((await get('/filed', bearer(await signed(filedKey, claimsFor(pki.patient), { kid: undefined })))).status).toBe(200);
    expect(await refusal(await signed(filedKey, claimsFor(pki.patient), { kid: 'another' }), '/filed')).toBe('token_signature');
  });
});

describe('scopes', () => {
  it.each(['patient/Observation.r', 'patient/*.rs', 'patient/*.read', 'patient/Observation.cruds', 'patient/*.*', 'openid patient/Patient.rs patient/Observation.read'])('%j covers patient/Observation.r', async (scope) => {
    expect((await get('/fhir/Observation/1', bearer(await good({ scope })))).status).toBe(200);
  });

  it.each(['', 'openid', 'user/*.rs', 'system/*.*', 'patient/Condition.rs', 'patient/*.s', 'patient/*.write', 'patient/Observation.rs?category=laboratory', 'Patient/*.rs', 'patient/observation.r'])('%j does not', async (scope) => {
    expect(await refusal(await good({ scope }))).toBe('token_scope');
  });

  it('may come as a list, and as scp', async () => {
    expect((await get('/fhir/Observation/1', bearer(await good({ scope: ['openid', 'patient/*.rs'] })))).status).toBe(200);
    expect((await get('/fhir/Observation/1', bearer(await good({ scope: undefined, scp: ['patient/*.rs'] })))).status).toBe(200);
  });

  it('give roles beside the certificate\'s own, which goes first', async () => {
    const token = await good({ scope: 'system/*.read' });
    const reply = await get('/analysis', bearer(token));
    expect(reply.status).toBe(200);
    expect(backend.seen.at(-1)?.headers).toMatchObject({ 'x-client-role': 'patient', 'x-client-roles': 'patient, analyst', 'x-client-id': 'urn:patient:1001' });
    expect(await recordOf(reply)).toMatchObject({ role: 'patient', roles: ['patient', 'analyst'] });
  });

  it('give no role to a token that lacks them', async () => {
    const reply = await get('/analysis', bearer(await good({ scope: 'user/*.read' })));
    expect([reply.status, (await recordOf(reply))['reason']]).toEqual([403, 'role_denied']);
  });

  it('do not free a patient from the compartment rule', async () => {
    const token = await good({ scope: 'system/*.read' });
    expect((await get('/named/1001', bearer(token))).status).toBe(200);
    const reply = await get('/named/1002', bearer(token));
    expect([reply.status, (await recordOf(reply))['reason']]).toEqual([403, 'patient_mismatch']);
  });
});

describe('the certificate comes first', () => {
  it('nobody without one is let in by a token', async () => {
    const reply = await ask(pki, gateway.port, '/fhir/Observation/1', bearer(await good()));
    expect([reply.status, reply.json()['code'], (await recordOf(reply))['reason']]).toEqual([401, 'certificate_required', 'no_certificate']);
  });

  it('a revoked one is refused with a good token', async () => {
    const reply = await get('/fhir/Observation/1', { client: pki.revokedDoctor, ...bearer(await good({}, pki.revokedDoctor)) });
    expect([reply.status, reply.json()['code'], (await recordOf(reply))['reason']]).toEqual([403, 'certificate_rejected', 'revoked_crl']);
  });

  it('one without a role is refused with a token that gives one', async () => {
    const reply = await get('/analysis', { client: pki.unmapped, ...bearer(await good({ scope: 'system/*.read' }, pki.unmapped)) });
    expect([reply.status, (await recordOf(reply))['reason']]).toEqual([403, 'no_role']);
  });

  it('one of another role is told so, and its token is not looked at', async () => {
    const reply = await get('/doctors', bearer('x.y.z'));
    expect([reply.status, (await recordOf(reply))['reason'], reply.headers['www-authenticate']]).toEqual([403, 'role_denied', undefined]);
  });
});

describe('a token beside something else', () => {
  it('is asked for in an emergency, too', async () => {
    const emergency = { 'wardgate-emergency-reason': 'emergency', 'wardgate-emergency-text': 'unconscious' };
    const without = await get('/glass', { headers: emergency });
    expect([without.status, (await recordOf(without))['reason']]).toEqual([401, 'token_missing']);
    const reply = await get('/glass', { headers: { ...emergency, ...bearer(await good()).headers } });
    expect([reply.status, backend.seen.at(-1)?.headers['x-client-status']]).toEqual([200, 'break-glass']);
  });

  it('comes with a session in its cookie where a second factor is required', async () => {
    const visitor = browserOver('localhost', async (method, target, fields, body) => {
      const headers = Object.fromEntries(Array.from({ length: fields.length / 2 }, (_, index) => [fields[index * 2] as string, fields[index * 2 + 1] as string]));
      const reply = await get(target, { method, headers, body });
      return { status: reply.status, fields: reply.rawHeaders, body: reply.body.toString() };
    });
    let printed = '';
    await invite({ config: gateway.path('wardgate.yaml'), json: true, role: 'patient', id: 'urn:patient:1001', who: 'test', expires: '1d' }, (text) => {
      printed += text;
    });
    const confirm = await visitor.submit('enrol', { invitation: (JSON.parse(printed) as { code: string }).code });
    await visitor.submit('enrol/confirm', { code: codeAt(/<code>([A-Z2-7 ]+)<\/code>/.exec(confirm.body)?.[1]?.replaceAll(' ', '') as string, Date.now()) });
    const cookie = `__Host-wardgate-session=${visitor.cookie}`;
    const answers = [{ headers: { cookie, ...bearer(await good()).headers } }, { headers: { cookie } }, bearer(await good()), bearer(String(visitor.cookie))];
    const replies = [];
    for (const one of answers) replies.push(await get('/both', one));
    expect(replies.map(({ status }) => status)).toEqual([200, 401, 401, 401]);
    expect(await Promise.all(replies.slice(1).map(async (reply) => (await recordOf(reply))['reason']))).toEqual(['token_missing', 'step_up_required', 'token_missing']);
  });
});

describe('attacks with tokens', () => {
  it('a stolen token does not work with another certificate, and raises an alarm', async () => {
    const stolen = await good({ jti: 'stolen' }, pki.patient);
    expect(await refusal(stolen, '/fhir/Observation/1', pki.doctor)).toBe('token_other_certificate');
    expect((await gateway.records()).findLast(({ token_id: id }) => id === 'stolen')).toMatchObject({ reason: 'token_other_certificate', alarm: 'foreign_token', id: 'Dr Wang' });
    // Its own client may go on, and what was verified for one is not taken from another.
    expect((await get('/fhir/Observation/1', bearer(stolen))).status).toBe(200);
    expect(await refusal(stolen, '/fhir/Observation/1', pki.doctor)).toBe('token_other_certificate');
  });

  it('a stolen token in the query, beside one that is the client\'s own, does not reach an upstream that reads it there', async () => {
    const own = await good();
    for (const query of ['access_token=stolen', 'a=1&ACCESS_TOKEN=stolen', 'access%5ftoken=stolen', 'a;access_token=stolen']) expect(await refusal(own, `/fhir/Observation/1?${query}`)).toBe('token_malformed');
    expect((await get('/fhir/Observation/1?access_tokens=x', bearer(own))).status).toBe(200);
  });

  it('alg none is refused, however it is written', async () => {
    for (const alg of ['none', 'None', 'NONE', 'nOnE', '']) {
      expect(await refusal(assembled({ alg, kid: 'ec' }, claimsFor(pki.patient)))).toBe('token_signature');
      expect(await refusal(`${assembled({ alg, kid: 'ec' }, claimsFor(pki.patient)).split('.').slice(0, 2).join('.')}.`)).toBe('token_malformed');
    }
  });

  it('HS256 with the public key as its secret is refused, whatever form the key has', async () => {
    const { publicKey, jwk } = keys.rsa;
    for (const secret of [publicKey.export({ type: 'spki', format: 'pem' }), publicKey.export({ type: 'spki', format: 'der' }), JSON.stringify(jwk), String(jwk['n'])]) {
      for (const alg of ['HS256', 'HS384']) {
        const token = assembled({ alg, kid: 'rsa' }, claimsFor(pki.patient), (input) => createHmac(alg === 'HS256' ? 'sha256' : 'sha384', secret).update(input).digest());
        expect(await refusal(token)).toBe('token_signature');
      }
    }
  });

  it('a key that the token brings itself, or says where to find, verifies nothing', async () => {
    const own = signingKey('mine');
    for (const header of [{ jwk: own.jwk }, { jwk: own.jwk, kid: 'ec' }, { jku: issuer.url }, { jku: 'https://127.0.0.1:1/jwks', kid: 'ec' }, { x5u: 'https://127.0.0.1:1/x' }, { x5c: [Buffer.from(own.publicKey.export({ type: 'spki', format: 'der' })).toString('base64')], kid: 'ec' }]) {
      expect(await refusal(await signed(own, claimsFor(pki.patient), header))).toBe('token_signature');
    }
  });

  it('a kid is a name and no path, query or index', async () => {
    for (const kid of ['../../../../dev/null', '/dev/null', 'ec\u0000', 'ec\' OR \'1\'=\'1', '0', '__proto__', 'constructor', 'EC', '', 'ec ', 'x'.repeat(2_000)]) {
      expect(await refusal(await signed(stranger, claimsFor(pki.patient), { kid }))).toBe('token_signature');
    }
    for (const kid of [0, null, { toString: 'ec' }, ['ec']]) expect(await refusal(assembled({ alg: 'ES256', kid }, claimsFor(pki.patient)))).toBe('token_malformed');
  });

  it('a token that names no key is refused where the issuer has several', async () => {
    expect(await refusal(await signed(keys.ec, claimsFor(pki.patient), { kid: undefined }))).toBe('token_signature');
  });

  it('another issuer\'s signature under the name of a key is refused', async () => {
    expect(await refusal(await signed(stranger, claimsFor(pki.patient)))).toBe('token_signature');
    expect(await refusal(await signed(filedKey, claimsFor(pki.patient)))).toBe('token_signature');
  });

  it('a key verifies only by the algorithms that are its own', async () => {
    expect(await refusal(await signed({ ...keys.p384, kid: 'ec' }, claimsFor(pki.patient)))).toBe('token_signature');
    expect(await refusal(await signed({ ...keys.rsa, kid: 'ec' }, claimsFor(pki.patient)))).toBe('token_signature');
  });

  it('a changed payload or header is refused, after the true one was taken as well', async () => {
    const token = await good();
    expect((await get('/fhir/Observation/1', bearer(token))).status).toBe(200);
    const [header, , signature] = token.split('.');
    const forged = Buffer.from(JSON.stringify(claimsFor(pki.patient, { scope: 'system/*.*' }))).toString('base64url');
    expect(await refusal(`${header}.${forged}.${signature}`)).toBe('token_signature');
    expect(await refusal(token.replace(/^[^.]+/, Buffer.from('{"alg":"ES256","kid":"ec"}').toString('base64url')))).toBe('token_signature');
    expect(await refusal(assembled({ alg: 'ES256', kid: 'ec' }, claimsFor(pki.patient), new Uint8Array(64)))).toBe('token_signature');
  });

  it.each([
    ['expired', { exp: seconds() - 31 }, 'token_expired'],
    ['from the future', { nbf: seconds() + 3_600 }, 'token_not_yet_valid'],
    ['issued in the future', { iat: seconds() + 3_600 }, 'token_not_yet_valid'],
    ['without an end', { exp: undefined }, 'token_malformed'],
    ['with an end that is no number', { exp: '9999999999' }, 'token_malformed'],
    ['with an end beyond all times', { exp: 1e300 }, 'token_malformed'],
    ['for another audience', { aud: 'https://api.other.test/fhir' }, 'token_audience'],
    ['for a part of the audience', { aud: 'https://api.hospital.test' }, 'token_audience'],
    ['for the audience with a slash more', { aud: `${AUDIENCE}/` }, 'token_audience'],
    ['for nobody', { aud: undefined }, 'token_audience'],
    ['for something odd', { aud: { [AUDIENCE]: true } }, 'token_malformed'],
    ['of another issuer', { iss: 'https://evil.test' }, 'token_issuer'],
    ['of the issuer with a slash more', { iss: `${ISSUER}/` }, 'token_issuer'],
    ['of no issuer', { iss: undefined }, 'token_issuer'],
    ['of several issuers', { iss: [ISSUER] }, 'token_malformed'],
    ['bound to nothing', { cnf: undefined }, 'token_unbound'],
    ['bound to a key of its own (DPoP)', { cnf: { jkt: 'x' } }, 'token_unbound'],
    ['bound to something odd', { cnf: { 'x5t#S256': 7 } }, 'token_unbound'],
    ['bound to an empty text', { cnf: { 'x5t#S256': '' } }, 'token_other_certificate'],
  ])('a token %s is refused', async (_name, more, reason) => {
    expect(await refusal(await good(more))).toBe(reason);
  });

  it('a thumbprint counts in its one spelling', async () => {
    const print = thumbprint(pki.patient);
    for (const other of [`${print}=`, Buffer.from(print, 'base64url').toString('hex'), print.toLowerCase(), ` ${print}`]) {
      expect(await refusal(await good({ cnf: { 'x5t#S256': other } }))).toBe('token_other_certificate');
    }
  });

  it.each([
    ['crit', { crit: ['exp'], exp: 1 }], ['b64', { b64: true, crit: ['b64'] }], ['the type of a logout token', { typ: 'logout+jwt' }], ['the type of a DPoP proof', { typ: 'dpop+jwt' }],
    ['a type that is no text', { typ: { toString: 1 } }], ['an algorithm that is no text', { alg: { toString: 1 } }],
  ])('a header with %s is refused', async (_name, header) => {
    const { kid, alg } = keys.ec;
    expect(await refusal(assembled({ kid, alg, ...header }, claimsFor(pki.patient)))).toBe('token_malformed');
  });

  it('what is no object is no claims', async () => {
    for (const payload of ['[]', 'null', '"x"', 'x', '']) expect(['token_malformed']).toContain(await refusal(await signed(keys.ec, payload)));
  });

  it.each([
    ['nothing behind the scheme', ''], ['words', 'a token'], ['two parts', 'a.b'], ['four parts', 'a.b.c.d'], ['five parts, as if encrypted', 'a.b.c.d.e'], ['characters of base64', 'a+/.b.c='],
    ['several, with commas', 'a.b.c, Bearer a.b.c'], ['no JSON', 'AAAA.AAAA.AAAA'],
  ])('%s is no token', async (_name, token) => {
    expect(await refusal(token)).toBe('token_malformed');
  });

  it('in another spelling of the same octets is refused: the last character of a part has no bits to spare', async () => {
    const token = await good();
    const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const respelt = `${token.slice(0, -1)}${digits[digits.indexOf(token.at(-1) as string) + 1]}`;
    expect(Buffer.from(respelt, 'base64url').equals(Buffer.from(token, 'base64url'))).toBe(true);
    expect((await get('/fhir/Observation/1', bearer(token))).status).toBe(200);
    expect(await refusal(respelt)).toBe('token_malformed');
  });

  it('a huge one is not looked at', async () => {
    expect(await refusal(`${'A'.repeat(9_000)}.A.A`)).toBe('token_malformed');
  });

  it('two Authorization fields are refused, although one of them is good', async () => {
    const token = await good();
    const fields = [['authorization', [`Bearer ${token}`, 'Bearer x.y.z']], ['authorization', [`Bearer ${token}`, `Bearer ${token}`]], ['authorization', ['Basic eDp5', `Bearer ${token}`]]] as const;
    for (const [name, values] of fields) {
      const socket = await openTls(pki, gateway.port, { client: pki.patient });
      const text = await exchange(socket, `GET /plain/1 HTTP/1.1\r\nHost: localhost\r\n${values.map((value) => `${name}: ${value}\r\n`).join('')}\r\n`, (so) => so.includes('}'));
      expect(text.slice(9, 12)).toBe('401');
      expect((await recordOf({ headers: { 'x-request-id': /x-request-id: (\S+)/i.exec(text)?.[1] as string } }))['reason']).toBe('token_malformed');
      socket.destroy();
    }
  });

  it('a token in the query or the body is not read', async () => {
    const token = await good();
    const query = await get(`/plain/1?access_token=${token}`);
    const body = await get('/plain/1', { method: 'POST', body: `access_token=${token}`, headers: { 'content-type': 'application/x-www-form-urlencoded' } });
    for (const reply of [query, body]) expect([reply.status, (await recordOf(reply))['reason']]).toEqual([401, 'token_missing']);
  });

  it('another scheme, no field and a session of the gateway\'s own are no token', async () => {
    for (const headers of [{ authorization: 'Basic eDp5' }, { authorization: `DPoP ${await good()}` }, { authorization: 'Bearer wgs_abc' }, { 'proxy-authorization': `Bearer ${await good()}` }, {}]) {
      const reply = await get('/plain/1', { headers });
      expect([reply.status, reply.json()['code'], reply.headers['www-authenticate'], (await recordOf(reply))['reason']]).toEqual([401, 'invalid_token', 'Bearer', 'token_missing']);
    }
  });

  it('what a refused token says goes on record only where the issuer has signed it', async () => {
    expect(await recordOf(await get('/plain/1', bearer(await signed(stranger, claimsFor(pki.patient, { jti: 'forged-id' })))))).not.toHaveProperty('token_id');
    expect(await recordOf(await get('/plain/1', bearer(await good({ exp: seconds() - 60, jti: 'late' }))))).toMatchObject({ reason: 'token_expired', token_id: 'late' });
  });

  it('a clock that is a little off is forgiven', async () => {
    expect((await get('/plain/1', bearer(await good({ exp: seconds() - 5, iat: seconds() + 10, nbf: seconds() + 10 })))).status).toBe(200);
  });
});

describe('an upgrade to a WebSocket', () => {
  const upgrade = (headers: Readonly<Record<string, string>>): Promise<number> => new Promise((done, failed) => {
    const socket = new WebSocket(`wss://127.0.0.1:${gateway.port}/plain/ws`, [], { ca: pki.root.certificate, cert: pki.patient.chain, key: pki.patient.key, servername: 'localhost', headers: { host: 'localhost', ...headers } } as ClientOptions);
    socket.on('unexpected-response', (_request, response: IncomingMessage) => {
      done(response.statusCode ?? 0);
      socket.terminate();
    });
    socket.on('error', failed);
  });

  it('is asked for its token, too', async () => {
    expect(await upgrade({})).toBe(401);
    expect(await upgrade({ authorization: `Bearer ${await good({ aud: 'x' })}` })).toBe(401);
    // This upstream speaks no WebSocket, and answers.
    expect(await upgrade({ authorization: `Bearer ${await good()}` })).toBe(200);
  });
});

describe('wardgate explain', () => {
  it('shows the verdict about a token', async () => {
    const explain = async (token: string | undefined): Promise<{ readonly code: number | null; readonly stdout: string }> => {
      await writeFile(gateway.path('token.txt'), `${token ?? ''}\n`);
      return wardgate(['explain', '-c', gateway.path('wardgate.yaml'), '--cert', gateway.path('patient.pem'), '--request', 'GET https://localhost/fhir/Observation/1', ...(token === undefined ? [] : ['--token', gateway.path('token.txt')])]);
    };
    const taken = await explain(await good());
    expect([taken.code, taken.stdout]).toEqual([0, expect.stringMatching(/^pass +token +patient\/\*\.rs launch\/patient$/m)]);
    const refused = await explain(await good({}, pki.doctor));
    expect([refused.code, refused.stdout]).toEqual([3, expect.stringMatching(/^deny +token +token_other_certificate: it is bound to another certificate$/m)]);
    const without = await explain(undefined);
    expect([without.code, without.stdout]).toEqual([3, expect.stringMatching(/^denied: token_missing$/m)]);
  });
});
