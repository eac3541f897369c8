import { CompactEncrypt } from 'jose';
import type { AnswerFilter, AnswerObjection } from '../answer-filter.ts';
import type { Recipient } from './recipient.ts';

/**
 * Fields of an answer that stay beside what is encrypted. Any other may tell of it: entity tags and digests are those of the
 * plaintext, and a file name or a field of the service's own may well name a diagnosis.
 */
const KEPT: ReadonlySet<string> = new Set([
  'date', 'server', 'allow', 'retry-after', 'location', 'content-location', 'vary', 'cache-control', 'set-cookie', 'www-authenticate', 'x-content-type-options', 'x-frame-options', 'referrer-policy',
  'content-security-policy', 'permissions-policy', 'cross-origin-resource-policy', 'cross-origin-opener-policy', 'cross-origin-embedder-policy',
]);
const KEPT_PREFIX = 'access-control-';
/** Statuses without content (RFC 9110 sections 15.3.5 and 15.3.6). */
const EMPTY: ReadonlySet<number> = new Set([204, 205]);
const NOTHING = { kind: 'octets', octets: [] } as const;

/**
 * Turns an answer into a JWE in compact form (RFC 7516) to its recipient's key, its own type as `cty`. Nothing of it leaves before all of it
 * has come: it is bounded, and what has been encrypted is overwritten. `head` says that it answers HEAD.
 */
export function createSealFilter(recipient: Recipient, head: boolean): AnswerFilter {
  let octets: Uint8Array[] = [];
  let held = 0;
  let type: string | undefined;
  let empty = false;

  function wipe(): void {
    for (const one of octets) one.fill(0);
    octets = [];
    held = 0;
  }

  async function seal(): Promise<Uint8Array> {
    const plaintext = Buffer.concat(octets);
    wipe();
    try {
      const { algorithm, names, key } = recipient;
      const jwe = await new CompactEncrypt(plaintext).setProtectedHeader({ alg: algorithm, enc: 'A256GCM', ...(type === undefined ? {} : { cty: type }), ...names }).encrypt(key);
      return Buffer.from(jwe, 'latin1');
    } finally {
      plaintext.fill(0);
    }
  }

  return {
    begin({ status, fields, length }) {
      const kept: string[] = [];
      for (let index = 0; index < fields.length; index += 2) {
        const name = (fields[index] as string).toLowerCase();
        const value = fields[index + 1] as string;
        if (name === 'content-encoding' && value.trim().toLowerCase() !== 'identity') return impossible(`an answer in the encoding ${JSON.stringify(value.slice(0, 40))}, which nobody asked for`);
        if (name === 'content-type') type = type === undefined ? value : '';
        else if (KEPT.has(name) || name.startsWith(KEPT_PREFIX)) kept.push(name, value);
      }
      if (type === '') return impossible('an answer of several types');
      // A part, or the news that nothing has changed: of what, the client could not tell.
      if (status === 206 || status === 304) return impossible(`an answer with status ${status}, which nobody asked for`);
      if (!head && length !== undefined && length > recipient.most) return tooLarge(recipient.most);
      empty = head || EMPTY.has(status);
      return { kind: 'head', fields: EMPTY.has(status) ? kept : [...kept, 'content-type', 'application/jose'], length: undefined };
    },
    read(part) {
      octets.push(part);
      held += part.length;
      if (held <= recipient.most && !(empty && held > 0)) return NOTHING;
      wipe();
      return empty ? impossible('content where there is none') : tooLarge(recipient.most);
    },
    end: () => (empty ? NOTHING : seal().then((jwe) => ({ kind: 'octets', octets: [jwe] }))),
    discard: wipe,
  };
}

function tooLarge(most: number): AnswerObjection {
  return impossible(`an answer of more than ${most} octets`);
}

function impossible(detail: string): AnswerObjection {
  return { kind: 'objection', code: 'upstream_unavailable', reason: 'encryption_impossible', detail };
}
