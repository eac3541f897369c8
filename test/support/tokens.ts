import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer } from 'node:https';
import { CompactSign, type CompactJWSHeaderParameters } from 'jose';
import { X509Certificate } from 'node:crypto';
import { listen } from './backend.ts';
import type { Issued, TestPki } from './pki.ts';

export const ISSUER = 'https://auth.hospital.test';
export const AUDIENCE = 'https://api.hospital.test/fhir';

/** A key of an issuer. */
export interface SigningKey {
  readonly kid: string;
  readonly alg: string;
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
  /** As its key set has it. */
  readonly jwk: Readonly<Record<string, unknown>>;
}

type Kind = 'ES256' | 'ES384' | 'EdDSA' | 'PS256' | 'RS256';

export function signingKey(kid: string, alg: Kind = 'ES256', bits = 2048): SigningKey {
  const { privateKey, publicKey } = alg === 'EdDSA' ? generateKeyPairSync('ed25519')
    : alg.startsWith('ES') ? generateKeyPairSync('ec', { namedCurve: alg === 'ES256' ? 'P-256' : 'P-384' }) : generateKeyPairSync('rsa', { modulusLength: bits });
  return { kid, alg, privateKey, publicKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig' } };
}

/** The claims of a token that is bound to a client's certificate. */
export function claimsFor(client: Issued, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const now = Math.floor(Date.now() / 1000);
  return {
    iss: ISSUER, aud: AUDIENCE, sub: 'patient-1001-secret', client_id: 'app-7', jti: 'token-1', iat: now, exp: now + 600, scope: 'patient/*.rs launch/patient',
    cnf: { 'x5t#S256': thumbprint(client) }, ...more,
  };
}

export function thumbprint(client: Issued): string {
  return createHash('sha256').update(new X509Certificate(client.certificate).raw).digest('base64url');
}

/** A token signed by this key; `header` adds to its header, or takes its place. */
export function signed(key: Pick<SigningKey, 'kid' | 'alg' | 'privateKey'>, payload: unknown, header: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return new CompactSign(new TextEncoder().encode(typeof payload === 'string' ? payload : JSON.stringify(payload)))
    .setProtectedHeader({ alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header } as CompactJWSHeaderParameters).sign(key.privateKey);
}

/** Three parts put together as they are. */
export function assembled(header: unknown, payload: unknown, signature: Uint8Array | ((input: string) => Uint8Array) = new Uint8Array(64)): string {
  const input = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');
  return `${input}.${Buffer.from(typeof signature === 'function' ? signature(input) : signature).toString('base64url')}`;
}

/** An issuer that publishes its keys over TLS. */
export interface TestIssuer {
  readonly url: string;
  /** What it publishes at the moment. */
  keys: readonly SigningKey[];
  /** What it answers in place of its keys. */
  answer: string | { readonly status: number; readonly location?: string } | undefined;
  /** How often it was asked. */
  asked: number;
  close(): Promise<void>;
}

export async function startIssuer(pki: TestPki, keys: readonly SigningKey[], certificate: Issued = pki.backendServer): Promise<TestIssuer> {
  const server = createServer({ cert: certificate.chain, key: certificate.key }, (_request, response) => {
    issuer.asked++;
    if (typeof issuer.answer === 'object') return void response.writeHead(issuer.answer.status, issuer.answer.location === undefined ? {} : { location: issuer.answer.location }).end();
    response.end(issuer.answer ?? JSON.stringify({ keys: issuer.keys.map(({ jwk }) => jwk) }));
  });
  const port = await listen(server);
  const issuer: TestIssuer = {
    url: `https://127.0.0.1:${port}/jwks`, keys, answer: undefined, asked: 0,
    close: () => new Promise((done) => {
      server.close(() => done());
      server.closeAllConnections();
    }),
  };
  return issuer;
}
