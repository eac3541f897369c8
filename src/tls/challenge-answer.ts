import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

const PATH = /^\/\.well-known\/acme-challenge\/([\w-]{1,256})$/;
/** A token, and the thumbprint of an account's key: RFC 8555 section 8.1. */
const LONGEST = 300;

/**
 * What a webroot holds for a request of an ACME CA (RFC 8555 section 8.3); undefined for every other request. The name has no dot and no slash, links are not
 * followed, and only what has the form of an answer to that very token is given: whatever else comes to lie there stays there.
 */
export function challengeAnswer(webroot: string, method: string | undefined, url: string | undefined): string | undefined {
  const [, token] = PATH.exec(url ?? '') ?? [];
  if (token === undefined || (method !== 'GET' && method !== 'HEAD')) return undefined;
  const text = readShort(join(webroot, '.well-known', 'acme-challenge', token));
  const answer = text?.replace(/\r?\n$/, '');
  return answer !== undefined && answer.startsWith(`${token}.`) && /^[\w-]{43}$/.test(answer.slice(token.length + 1)) ? answer : undefined;
}

function readShort(file: string): string | undefined {
  let handle: number | undefined;
  try {
    // A pipe would not let go of the thread.
    handle = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if (!fstatSync(handle).isFile()) return undefined;
    const octets = Buffer.alloc(LONGEST + 2);
    return octets.toString('latin1', 0, readSync(handle, octets, 0, octets.length, 0));
  } catch {
    return undefined;
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}
