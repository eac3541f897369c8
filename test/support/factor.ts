import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { Secret, TOTP } from 'otpauth';
import type { AuditRecord } from '../../src/audit/record.ts';
import type { Snapshot, SmsTarget } from '../../src/config/snapshot.ts';
import type { PageAnswer as OwnPage } from '../../src/forward/client.ts';
import { openSecondFactor, type SecondFactor } from '../../src/factor/second-factor.ts';
import type { Factor, TotpAlgorithm } from '../../src/policy/second-factor.ts';
import type { Bearer } from '../../src/policy/session.ts';

/** The code that an authenticator shows at a time. */
export function codeAt(secret: string, time: number, algorithm: TotpAlgorithm = 'SHA1'): string {
  return new TOTP({ secret: Secret.fromBase32(secret), algorithm }).generate({ timestamp: time });
}

export const PATIENT: Bearer = { subject: { role: 'patient', id: 'urn:patient:1001' }, certificate: 'aa'.repeat(32) };

/** An answer, its body as text. */
export type PageAnswer = Omit<OwnPage, 'body'> & { readonly body: string };

export interface FactorParts {
  readonly directory?: string;
  readonly keys?: readonly Uint8Array[];
  readonly shared?: { readonly redis: Redis; readonly prefix: string };
  readonly sms?: SmsTarget;
  readonly algorithm?: 'sha1' | 'sha256';
  readonly asked?: readonly Factor[];
  readonly session?: Snapshot['config']['second_factor']['session'];
  readonly webauthn?: Partial<Snapshot['config']['second_factor']['webauthn']>;
  readonly record?: (record: AuditRecord) => Promise<void>;
}

export interface TestFactor {
  readonly factor: SecondFactor;
  readonly directory: string;
  readonly keys: readonly Uint8Array[];
  readonly records: AuditRecord[];
  /** The clock, ms since the epoch. */
  now: number;
  /** Visits pages as this bearer, keeping cookies. */
  browser(bearer?: Bearer, address?: string): Browser;
  /** The reasons on record, oldest first. */
  reasons(): readonly string[];
  close(): void;
}

export interface Browser {
  cookie: string | undefined;
  get(page: string, fields?: readonly string[]): Promise<PageAnswer>;
  post(page: string, form: Readonly<Record<string, string>>, fields?: readonly string[]): Promise<PageAnswer>;
  /** Gets a page, fills in its form as it stands there, and follows a redirect. */
  submit(page: string, filled: Readonly<Record<string, string>>, action?: string): Promise<PageAnswer>;
  json(method: string, page: string, input: unknown, fields?: readonly string[]): Promise<{ status: number; fields: ReadonlyMap<string, string>; body: Record<string, unknown> }>;
}

/** Second factors without sockets, with a clock of their own. */
export function testFactor(parts: FactorParts = {}): TestFactor {
  const directory = parts.directory ?? mkdtempSync(join(tmpdir(), 'wardgate-factor-'));
  const keys = parts.keys ?? [randomBytes(32)];
  const records: AuditRecord[] = [];
  const snapshot = {
    config: {
      second_factor: { key_file: 'factors.key', session: parts.session ?? { lifetime: 3_600_000, idle: 900_000 }, totp: { issuer: 'Hospital', algorithm: parts.algorithm ?? 'sha1' }, webauthn: { user_verification: 'required', timeout: 300_000, ...parts.webauthn }, ...(parts.sms === undefined ? {} : { sms: {} }) },
      routes: [{ allow: ['patient'], require: { second_factor: parts.asked ?? ['totp', 'sms'] } }],
    },
    secondFactor: { keys, ...(parts.sms === undefined ? {} : { sms: parts.sms }) },
  } as unknown as Snapshot;
  const clock = { now: Date.UTC(2026, 10, 22, 9, 0, 0) };
  const factor = openSecondFactor({
    snapshot, state: directory, shared: parts.shared, port: () => 8443, now: () => clock.now, warn: () => undefined, count: () => undefined, cardCost: { N: 16, r: 8, p: 1 },
    record: parts.record ?? ((record) => {
      records.push(record);
      return Promise.resolve();
    }),
  });
  return {
    directory, keys, records, factor,
    get now() {
      return clock.now;
    },
    set now(time) {
      clock.now = time;
    },
    browser: (bearer = PATIENT, address = '10.0.0.1') => openBrowser(factor, bearer, address),
    reasons: () => records.flatMap(({ reason }) => reason ?? []),
    close() {
      factor.close();
      if (parts.directory === undefined) rmSync(directory, { recursive: true, force: true });
    },
  };
}

const AUTHORITY = 'api.hospital.test:8443';

function openBrowser(factor: SecondFactor, bearer: Bearer, address: string): Browser {
  return browserOver(AUTHORITY, async (method, target, fields, body) => {
    const [path = '', query = ''] = target.split('?');
    const { body: octets, ...head } = await factor.answerPage({
      id: '1', method, host: 'api.hospital.test', path, query, body: Buffer.from(body), identity: { ...bearer.subject, roles: new Set([bearer.subject.role]) },
      certificate: bearer.certificate, address, listener: 'clinical', fields: ['Host', AUTHORITY, ...fields],
    });
    return { ...head, body: Buffer.from(octets).toString() };
  });
}

/** Sends a request in whatever way; `target` begins with a slash. */
export type Transport = (method: string, target: string, fields: readonly string[], body: string) => Promise<PageAnswer>;

/** A browser, as far as the pages need one: it keeps the cookie, and fills in forms as they stand there. */
export function browserOver(authority: string, transport: Transport): Browser {
  async function ask(method: string, page: string, fields: readonly string[], body = ''): Promise<PageAnswer> {
    const answer = await transport(method, page.startsWith('/') ? page : `/.wardgate/${page}`, [
      ...(browser.cookie === undefined ? [] : ['Cookie', `other=1; __Host-wardgate-session=${browser.cookie}`]), ...fields,
    ], body);
    const cookie = fieldsOf(answer).get('set-cookie');
    if (cookie !== undefined) browser.cookie = /^__Host-wardgate-session=([^;]*); Path=\/; Secure; HttpOnly; SameSite=Lax/.exec(cookie)?.[1] || undefined;
    return answer;
  }
  const browser: Browser = {
    cookie: undefined,
    get: (page, fields = []) => ask('GET', page, fields),
    post: (page, form, fields = ['Origin', `https://${authority}`, 'Sec-Fetch-Site', 'same-origin']) =>
      ask('POST', page, ['Content-Type', 'application/x-www-form-urlencoded', ...fields], new URLSearchParams(form).toString()),
    async submit(page, filled, action) {
      const { body } = await browser.get(page);
      const form = [...body.matchAll(/<form method="post" action="\/\.wardgate\/([^"]*)"[^>]*>([\s\S]*?)<\/form>/g)].find(([, to]) => action === undefined || to === action);
      if (form === undefined) throw new Error(`no such form: ${body}`);
      const hidden = Object.fromEntries([...(form[2] as string).matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g)].map(([, name, value]) => [name as string, (value as string).replaceAll('&amp;', '&')]));
      const answer = await browser.post(form[1] as string, { ...hidden, ...filled });
      const location = fieldsOf(answer).get('location');
      return answer.status === 303 && location?.startsWith('/.wardgate/') === true ? browser.get(location.slice('/.wardgate/'.length)) : answer;
    },
    async json(method, page, input, fields = []) {
      const answer = await ask(method, page, ['Content-Type', 'application/json', ...fields], JSON.stringify(input));
      return { status: answer.status, fields: fieldsOf(answer), body: answer.body === '' ? {} : JSON.parse(answer.body) as Record<string, unknown> };
    },
  };
  return browser;
}

/** The fields of an answer by their names in lower case. */
export function fieldsOf({ fields }: Pick<PageAnswer, 'fields'>): ReadonlyMap<string, string> {
  return new Map(Array.from({ length: fields.length / 2 }, (_, index) => [(fields[index * 2] as string).toLowerCase(), fields[index * 2 + 1] as string]));
}

/** Enrols a patient by way of the pages; gives back the secret and the recovery codes. */
export async function enrol(test: TestFactor, browser: Browser, { subject } = PATIENT): Promise<{ secret: string; codes: readonly string[] }> {
  const { code } = await test.factor.factors.invite(subject, 86_400_000, 'test');
  await browser.submit('enrol', { invitation: code });
  const confirm = await browser.get('enrol/confirm');
  const secret = /<code>([A-Z2-7 ]+)<\/code>/.exec(confirm.body)?.[1]?.replaceAll(' ', '');
  if (secret === undefined) throw new Error(`no secret: ${confirm.body}`);
  const done = await browser.submit('enrol/confirm', { code: codeAt(secret, test.now) });
  return { secret, codes: [...done.body.matchAll(/<li>([0-9A-Z-]{19})<\/li>/g)].map(([, one]) => one as string) };
}
