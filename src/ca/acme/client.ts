import { createHmac, createPublicKey, type KeyObject } from 'node:crypto';
import { calculateJwkThumbprint, FlattenedSign, type JWK } from 'jose';
import { z } from 'zod';
import { AcmeError, printable, send, type AcmeReply } from './wire.ts';

/** Binds a new account to one that the CA knows otherwise (RFC 8555 section 7.3.4). */
export interface Binding {
  readonly kid: string;
  /** The MAC key. */
  readonly key: Buffer;
}

export interface AcmeServer {
  /** URL of the directory */
  readonly directory: string;
  /** Anchors of its TLS certificate, PEM; the runtime's own without. */
  readonly trust?: string;
}

export interface AccountOptions {
  /** P-256 */
  readonly key: KeyObject;
  readonly email?: string;
  readonly binding?: Binding;
  /** Whether somebody has read and accepted the CA's terms. */
  readonly agreed: boolean;
}

/** Where the CA looks for the answers to its challenges. */
export interface Answers {
  show(token: string, text: string): void;
  hide(token: string): void;
}

export interface OrderOptions {
  readonly names: readonly string[];
  /** PKCS#10 for exactly these names, DER */
  readonly request: Uint8Array;
  readonly answers: Answers;
}

const DIRECTORY = z.object({
  newNonce: z.string(), newAccount: z.string(), newOrder: z.string(),
  meta: z.object({ termsOfService: z.string().optional(), externalAccountRequired: z.boolean().optional() }).optional(),
});
const PROBLEM = z.object({ type: z.string().optional(), detail: z.string().optional(), subproblems: z.array(z.object({ detail: z.string().optional() })).optional() });
const ORDER = z.object({ status: z.string(), authorizations: z.array(z.string()).max(100), finalize: z.string(), certificate: z.string().optional(), error: PROBLEM.optional() });
const CHALLENGE = z.object({ type: z.string(), url: z.string().optional(), token: z.string().optional(), error: PROBLEM.optional() });
const AUTHORIZATION = z.object({ status: z.string(), identifier: z.object({ value: z.string() }), challenges: z.array(CHALLENGE).max(50) });

type Directory = z.infer<typeof DIRECTORY>;

const ATTEMPTS = 10;
const PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;
/** A token becomes the name of a file and part of a URL; RFC 8555 section 8.3 has it in base64url. */
const TOKEN = /^[\w-]{1,256}$/;

/** An account at an ACME server (RFC 8555), ready to order. */
export interface AcmeAccount {
  /** Its URL. */
  readonly url: string;
  /** Orders a certificate, proves by http-01 that the names are ours, and resolves with the chain, PEM. Throws an AcmeError. */
  order(options: OrderOptions): Promise<string>;
}

/** Finds the account of a key, or makes one. Everything ends with the signal. Throws an AcmeError. */
export async function openAccount(server: AcmeServer, options: AccountOptions, signal: AbortSignal): Promise<AcmeAccount> {
  const directory = read(DIRECTORY, expectStatus(await send(server.directory, { ...server, signal }), 'the directory'), 'the directory');
  const session = createSession(server, directory, options.key, signal);
  const url = await findAccount(session, directory, options);
  return { url, order: (order) => obtain(session.as(url), directory, order, options.key, signal) };
}

interface Session {
  /** Posts a JWS: an object as its payload, or the empty one of POST-as-GET. */
  post(url: string, payload?: object): Promise<AcmeReply>;
  readonly jwk: JWK;
  /** The same key, named by its account. */
  as(account: string): Session;
}

function createSession({ trust }: AcmeServer, { newNonce }: Directory, key: KeyObject, signal: AbortSignal): Session {
  const { kty = '', crv = '', x = '', y = '' } = createPublicKey(key).export({ format: 'jwk' }) as JWK;
  const jwk: JWK = { kty, crv, x, y };
  const options = { signal, ...(trust === undefined ? {} : { trust }) };
  let nonce: string | undefined;
  const session = (account?: string): Session => ({
    jwk,
    as: session,
    async post(url, payload) {
      for (let attempt = 1; ; attempt += 1) {
        const used = nonce ?? (await send(newNonce, { ...options, head: true })).nonce;
        nonce = undefined;
        if (used === undefined) throw new AcmeError(`${printable(newNonce)}: the server gives no nonce`);
        const jws = await new FlattenedSign(Buffer.from(payload === undefined ? '' : JSON.stringify(payload)))
          .setProtectedHeader({ alg: 'ES256', nonce: used, url, ...(account === undefined ? { jwk } : { kid: account }) })
          .sign(key);
        const reply = await send(url, { ...options, body: JSON.stringify(jws) });
        nonce = reply.nonce;
        // RFC 8555 section 6.5: a server may forget its nonces at any time; the refusal brings another.
        if (reply.status === 400 && attempt < ATTEMPTS && problemOf(reply).problem === 'badNonce') continue;
        return reply;
      }
    },
  });
  return session();
}

async function findAccount(session: Session, { newAccount, meta }: Directory, { email, binding, agreed }: AccountOptions): Promise<string> {
  const found = await session.post(newAccount, { onlyReturnExisting: true });
  if (found.status === 200) return locationOf(found, 'the account');
  const refusal = problemOf(found);
  if (refusal.problem !== 'accountDoesNotExist') throw refusal;
  if (meta?.termsOfService !== undefined && !agreed) throw new AcmeError(`the CA has terms of service: read ${printable(meta.termsOfService)}, and say --agree-terms`);
  if (meta?.externalAccountRequired === true && binding === undefined) throw new AcmeError('the CA makes accounts only for whom it knows: take a key identifier and MAC key from it, and give --eab-kid and --eab-key-file');
  const made = await session.post(newAccount, {
    ...(agreed ? { termsOfServiceAgreed: true } : {}),
    ...(email === undefined ? {} : { contact: [`mailto:${email}`] }),
    ...(binding === undefined ? {} : { externalAccountBinding: bind(binding, newAccount, session.jwk) }),
  });
  expectStatus(made, 'a new account');
  return locationOf(made, 'the account');
}

/** A JWS over the account's key with the MAC key; by hand, because CAs give out MAC keys that are shorter than libraries want. */
function bind({ kid, key }: Binding, url: string, jwk: JWK): object {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const [head, payload] = [encode({ alg: 'HS256', kid, url }), encode(jwk)];
  return { protected: head, payload, signature: createHmac('sha256', key).update(`${head}.${payload}`).digest('base64url') };
}

async function obtain(session: Session, { newOrder }: Directory, { names, request, answers }: OrderOptions, key: KeyObject, signal: AbortSignal): Promise<string> {
  const made = await session.post(newOrder, { identifiers: names.map((value) => ({ type: 'dns', value })) });
  let order = read(ORDER, expectStatus(made, 'the order'), 'the order');
  const url = locationOf(made, 'the order');
  const thumbprint = await calculateJwkThumbprint(createPublicKey(key).export({ format: 'jwk' }) as JWK);
  for (const authorization of order.authorizations) await authorize(session, authorization, thumbprint, answers, signal);
  const orderAt = async (wanted: readonly string[]): Promise<void> => {
    order = await poll(session, url, ORDER, 'the order', wanted, signal);
    if (order.status === 'invalid') throw problemIn('the order', order.error);
  };
  await orderAt(['ready', 'valid', 'invalid']);
  if (order.status === 'ready') expectStatus(await session.post(order.finalize, { csr: Buffer.from(request).toString('base64url') }), 'the certificate request');
  await orderAt(['valid', 'invalid']);
  if (order.certificate === undefined) throw new AcmeError('the order is valid and names no certificate');
  return expectStatus(await session.post(order.certificate), 'the certificate').body;
}

async function authorize(session: Session, url: string, thumbprint: string, answers: Answers, signal: AbortSignal): Promise<void> {
  const { status, challenges, identifier } = read(AUTHORIZATION, expectStatus(await session.post(url), 'an authorization'), 'an authorization');
  if (status === 'valid') return;
  const what = `the proof for ${printable(identifier.value)}`;
  const challenge = challenges.find(({ type }) => type === 'http-01');
  if (challenge?.url === undefined || challenge.token === undefined) throw new AcmeError(`${what}: the CA does not offer http-01, which is all there is here`);
  const { token } = challenge;
  if (!TOKEN.test(token)) throw new AcmeError(`${what}: the CA's token is none`);
  answers.show(token, `${token}.${thumbprint}`);
  try {
    expectStatus(await session.post(challenge.url, {}), what);
    const end = await poll(session, url, AUTHORIZATION, what, ['valid', 'invalid', 'deactivated', 'expired', 'revoked'], signal);
    if (end.status !== 'valid') throw problemIn(what, end.challenges.find(({ error }) => error !== undefined)?.error);
  } finally {
    answers.hide(token);
  }
}

/** Asks until the status is one of those waited for; the signal is the deadline. */
async function poll<T extends { readonly status: string }>(session: Session, url: string, schema: z.ZodType<T>, what: string, wanted: readonly string[], signal: AbortSignal): Promise<T> {
  for (;;) {
    const reply = expectStatus(await session.post(url), what);
    const state = read(schema, reply, what);
    if (wanted.includes(state.status)) return state;
    await pause(Math.min(Math.max(reply.retryAfter ?? PAUSE, PAUSE), LONGEST_PAUSE), signal, what);
  }
}

function pause(ms: number, signal: AbortSignal, what: string): Promise<void> {
  return new Promise((done, fail) => {
    const stop = (): void => {
      clearTimeout(timer);
      fail(new AcmeError(`${what}: not decided in time`));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      done();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

function read<T>(schema: z.ZodType<T>, { body }: AcmeReply, what: string): T {
  try {
    return schema.parse(JSON.parse(body));
  } catch (error) {
    throw new AcmeError(`${what}: the answer is not ACME's`, undefined, error);
  }
}

function locationOf({ location }: AcmeReply, what: string): string {
  if (location === undefined) throw new AcmeError(`${what}: the answer says not where it is`);
  return location;
}

function expectStatus(reply: AcmeReply, what: string): AcmeReply {
  if (reply.status >= 200 && reply.status <= 299) return reply;
  const error = problemOf(reply);
  const again = reply.retryAfter === undefined ? '' : `; not before ${new Date(Date.now() + reply.retryAfter).toISOString()}`;
  throw new AcmeError(`${what}: ${error.message}${again}`, error.problem);
}

function problemOf({ status, body }: AcmeReply): AcmeError {
  try {
    const problem = PROBLEM.parse(JSON.parse(body));
    const { message, problem: type } = problemIn(`status ${status}`, problem);
    return new AcmeError(message, type);
  } catch {
    return new AcmeError(`status ${status}`);
  }
}

function problemIn(what: string, problem: z.infer<typeof PROBLEM> | undefined): AcmeError {
  const type = printable(problem?.type?.split(':').at(-1) ?? 'refused');
  const details = [problem?.detail, ...(problem?.subproblems ?? []).map(({ detail }) => detail)].filter((detail) => detail !== undefined).map(printable);
  return new AcmeError(`${what}: ${[type, ...details].join(': ')}`, type);
}
