import type { PageAnswer } from '../forward/client.ts';
import { SESSION_COOKIE } from '../forward/session-token.ts';
import { contentSecurityPolicy } from './page.ts';

/** RFC 9470 section 3. */
export const CHALLENGE: readonly string[] = ['www-authenticate', 'Bearer error="insufficient_user_authentication"'];
export const COMMON: readonly string[] = ['cache-control', 'no-store', 'x-content-type-options', 'nosniff', 'referrer-policy', 'same-origin'];
const FOR_BROWSERS: readonly string[] = [
  ...COMMON, 'content-type', 'text/html; charset=utf-8', 'x-frame-options', 'DENY', 'cross-origin-opener-policy', 'same-origin',
  'cross-origin-resource-policy', 'same-origin', 'permissions-policy', 'camera=(), geolocation=(), microphone=()', 'vary', 'Accept-Language, Cookie',
];

export const NO_COOKIE: readonly string[] = [];
export const EMPTY = new Uint8Array();

/** A page. `nonce`: of the one script that it may run; absent: none. */
export function page(status: number, body: string, fields: readonly string[], nonce?: string): PageAnswer {
  return { status, fields: [...FOR_BROWSERS, 'content-security-policy', contentSecurityPolicy(nonce), ...fields], body: Buffer.from(body) };
}

/** After a form: what follows is got, so that going back or reloading sends nothing again. */
export function redirect(location: string, cookie: readonly string[]): PageAnswer {
  return { status: 303, fields: [...COMMON, 'location', location, ...cookie], body: EMPTY };
}

/** An answer for programs: what they asked for, or a problem with a code. */
export function json(status: number, content: object, fields: readonly string[] = []): PageAnswer {
  const type = status < 400 ? 'application/json' : 'application/problem+json';
  const written = status < 400 ? content : { type: `urn:wardgate:problem:${'code' in content ? String(content.code) : ''}`, status, ...content };
  return { status, fields: [...COMMON, 'content-type', type, ...fields], body: Buffer.from(`${JSON.stringify(written)}\n`) };
}

/** The script of the pages where a security key is used: the same for everybody. */
export function script(text: string): PageAnswer {
  return { status: 200, fields: [...COMMON, 'content-type', 'text/javascript; charset=utf-8', 'cross-origin-resource-policy', 'same-origin'], body: Buffer.from(text) };
}

/** Gone with the browser: nothing of it is written to the disk of a kiosk. */
export function setCookie(token: string | undefined): readonly string[] {
  return ['set-cookie', `${SESSION_COOKIE}=${token ?? ''}; Path=/; Secure; HttpOnly; SameSite=Lax${token === undefined ? '; Max-Age=0' : ''}`];
}

/** How long to wait, where there is something to wait for; both in ms since the epoch. */
export function retryAfter(refusal: { readonly retryAt?: number } | undefined, now: number): readonly string[] {
  return refusal?.retryAt === undefined ? [] : ['retry-after', String(Math.max(1, Math.ceil((refusal.retryAt - now) / 1000)))];
}
