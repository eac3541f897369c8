import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { z } from 'zod';
import { networkFault } from '../config/addresses.ts';
import type { SuspensionOrder, SuspensionScope } from '../policy/suspensions.ts';
import type { DenySubject } from '../store/deny-list.ts';
import { answerAuditCall, type AuditTarget } from './audit-calls.ts';
import { answerFactorCall, type FactorTarget } from './factor-calls.ts';
import { input, InputError } from './input.ts';

/** What the admin interface can do to a gateway. */
export interface AdminTarget {
  status(): Promise<unknown>;
  reload(): Promise<void>;
  /** Resolves with the files that had changed. */
  reloadCertificates(): Promise<readonly string[]>;
  deny(entry: DenySubject & { readonly reason: string; readonly who: string; readonly expires?: string }): Promise<void>;
  reinstate(subject: DenySubject, who: string): Promise<boolean>;
  readonly audit: AuditTarget;
  /** Undefined where no route requires a second factor. */
  factors(): FactorTarget | undefined;
  /** What is wrong with a role that is not configured. */
  unknownRole(role: string): string | undefined;
  suspend(order: SuspensionOrder & { readonly who: string }): Promise<void>;
  resume(scope: SuspensionScope, who: string): Promise<boolean>;
  concerned(scope: SuspensionScope): Promise<unknown>;
  grants(): readonly unknown[];
  alarms(): Promise<readonly unknown[]>;
  acknowledge(id: string, who: string, note: string): Promise<void>;
  withdraw(id: string, who: string, note: string): Promise<void>;
  review(id: string, who: string, note: string): Promise<void>;
}

const hex = z.string().regex(/^[0-9a-f]+$/);
const text = z.string().min(1).max(1_000);
const who = z.string().min(1).max(200);
const subjects = [
  z.strictObject({ kind: z.literal('fingerprint'), fingerprint: hex.length(64) }),
  z.strictObject({ kind: z.literal('serial'), serial: hex.max(64), issuer: text, issuer_text: text }),
  z.strictObject({ kind: z.literal('key'), key: hex.length(64) }),
  z.strictObject({ kind: z.literal('issuer'), issuer: text, issuer_text: text }),
  z.strictObject({ kind: z.literal('identity'), id: text }),
] as const;
const denial = { reason: text, who, expires: z.iso.datetime().exactOptional() };
const denyRequest = z.discriminatedUnion('kind', [subjects[0].extend(denial), subjects[1].extend(denial), subjects[2].extend(denial), subjects[3].extend(denial), subjects[4].extend(denial)]);
const reinstateRequest = z.discriminatedUnion('kind', [subjects[0].extend({ who }), subjects[1].extend({ who }), subjects[2].extend({ who }), subjects[3].extend({ who }), subjects[4].extend({ who })]);

const scope = {
  route: text.exactOptional(), listener: text.exactOptional(), role: text.exactOptional(), outside: z.literal(true).exactOptional(),
  network: text.refine((value) => networkFault(value) === undefined, { error: 'expected a network such as 10.1.0.0/16' }).exactOptional(),
};
const named = <Fields extends object>(fields: Fields): boolean => Object.keys(scope).some((key) => Object.hasOwn(fields, key));
const NAMED = { error: 'expected at least one of route, listener, role, network and outside' };
const suspendRequest = z.strictObject({ ...scope, reason: text, who, expires: z.iso.datetime().exactOptional() }).refine(named, NAMED);
const resumeRequest = z.strictObject({ ...scope, who }).refine(named, NAMED);
const grantRequest = z.strictObject({ id: text, who, note: text });
const concernedRequest = z.strictObject(scope).refine(named, NAMED);

/**
 * Opens the admin interface on a Unix socket that only its owner can use. A socket file that nobody listens on any more is
 * replaced; one that answers means another gateway has this state directory, and is refused.
 */
export async function openAdminSocket(path: string, target: AdminTarget): Promise<{ close(): Promise<void> }> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if (await answers(path)) throw new Error(`${path}: another gateway is running on this state directory`);
  let server = await listen(path, target);
  let looking = false;
  // Without its file the socket cannot be reached, and nobody could revoke.
  const timer = setInterval(() => {
    if (looking || existsSync(path)) return;
    looking = true;
    // The old one first: closing a Unix socket removes the file of its name, whoever's it is by then.
    void end(server).then(() => listen(path, target)).then((found) => {
      server = found;
    }, () => undefined).finally(() => {
      looking = false;
    });
  }, LOOK_MS);
  timer.unref();
  return {
    close() {
      clearInterval(timer);
      return end(server);
    },
  };
}

function end(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}

const LOOK_MS = 1_000;

async function listen(path: string, target: AdminTarget): Promise<Server> {
  rmSync(path, { force: true });
  const server = createServer({ headersTimeout: 5_000, requestTimeout: 10_000 }, (request, response) => {
    serve(request, target).then(
      (answer) => reply(response, 200, answer),
      (error: Error & { issues?: unknown }) => reply(response, error instanceof InputError ? 400 : 500, { error: error.message, ...(error.issues === undefined ? {} : { issues: error.issues }) }),
    );
  });
  server.on('clientError', (_error, socket) => socket.destroy());
  const mask = process.umask(0o177);
  try {
    await new Promise<void>((done, failed) => {
      server.once('error', failed);
      server.listen(path, () => done());
    });
  } finally {
    process.umask(mask);
  }
  chmodSync(path, 0o600);
  return server;
}

async function serve(request: IncomingMessage, target: AdminTarget): Promise<unknown> {
  switch (`${request.method} ${request.url}`) {
    case 'GET /v1/status':
      return target.status();
    case 'POST /v1/reload':
      await target.reload();
      return { reloaded: true };
    case 'POST /v1/certificates/reload':
      return { changed: await target.reloadCertificates() };
    case 'POST /v1/deny': {
      await target.deny(await input(request, denyRequest));
      return { denied: true };
    }
    case 'POST /v1/reinstate': {
      const { who: by, ...subject } = await input(request, reinstateRequest);
      return { reinstated: await target.reinstate(subject, by) };
    }
    case 'POST /v1/suspend':
      await target.suspend(await input(request, suspendRequest));
      return { suspended: true };
    case 'POST /v1/resume': {
      const { who: by, ...resumed } = await input(request, resumeRequest);
      return { resumed: await target.resume(resumed, by) };
    }
    case 'GET /v1/break-glass':
      return { grants: target.grants() };
    case 'GET /v1/alarms':
      return { alarms: await target.alarms() };
    case 'POST /v1/alarms/acknowledge': {
      const { id, who: by, note } = await input(request, grantRequest);
      await target.acknowledge(id, by, note);
      return { acknowledged: true };
    }
    case 'POST /v1/break-glass/withdraw': {
      const { id, who: by, note } = await input(request, grantRequest);
      await target.withdraw(id, by, note);
      return { withdrawn: true };
    }
    case 'POST /v1/break-glass/review': {
      const { id, who: by, note } = await input(request, grantRequest);
      await target.review(id, by, note);
      return { reviewed: true };
    }
    case 'POST /v1/concerned':
      return target.concerned(await input(request, concernedRequest));
    default:
      if (request.url?.startsWith('/v1/factor/') === true) return answerFactorCall(request, target.factors(), target.unknownRole);
      if (request.url?.startsWith('/v1/audit/') === true) return answerAuditCall(request, target.audit);
      throw new InputError(`no such call: ${request.method} ${request.url}`);
  }
}

function reply(response: ServerResponse, status: number, answer: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(answer)}\n`);
}

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path);
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('connect', () => {
      done(true);
      socket.destroy();
    });
    socket.on('error', () => done(false));
    socket.on('close', () => done(false));
  });
}
