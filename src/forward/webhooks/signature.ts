import { createHmac, timingSafeEqual } from 'node:crypto';

/** How an event is signed: HMAC-SHA256 over the time (seconds since the epoch, as written), a dot and the body. */
const TIMESTAMP_FIELD = 'wardgate-timestamp';
const SIGNATURE_FIELD = 'wardgate-signature';

export type SignatureVerdict =
  | { readonly kind: 'good' }
  | { readonly kind: 'refused'; readonly reason: 'webhook_signature' | 'webhook_stale'; readonly detail: string };

/** What a signed event is judged by; `now` and `tolerance` in ms. */
export interface Signed {
  /** The header section as it was received: name, value, name, value… */
  readonly fields: readonly string[];
  readonly body: Uint8Array;
  readonly secrets: readonly Uint8Array[];
  readonly tolerance: number;
  readonly now: number;
}

/**
 * Whether one of the secrets has signed this body for about now. Of several signatures (`sha256=…, sha256=…`, as while a sender's secret
 * changes) one is enough. The signature is looked at first: who has no secret learns nothing of our clock.
 */
export function judgeSignature({ fields, body, secrets, tolerance, now }: Signed): SignatureVerdict {
  const [timestamp, ...moreTimes] = valuesOf(fields, TIMESTAMP_FIELD);
  const [written, ...moreSignatures] = valuesOf(fields, SIGNATURE_FIELD);
  if (timestamp === undefined || written === undefined) return refuse('webhook_signature', `expected ${TIMESTAMP_FIELD} and ${SIGNATURE_FIELD}`);
  if (moreTimes.length > 0 || moreSignatures.length > 0) return refuse('webhook_signature', 'a signature or its time is given twice');
  if (!/^\d{1,12}$/.test(timestamp)) return refuse('webhook_signature', `${TIMESTAMP_FIELD} is no number of seconds`);
  const signatures = written.split(',').map((one) => /^\s*sha256=([0-9a-f]{64})\s*$/i.exec(one)?.[1]).slice(0, MOST_SIGNATURES);
  const good = secrets.some((secret) => {
    const expected = createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest();
    // Each is compared whole: how far one agrees must not show in the time it takes.
    return signatures.filter((hex) => hex !== undefined && timingSafeEqual(expected, Buffer.from(hex, 'hex'))).length > 0;
  });
  if (!good) return refuse('webhook_signature', 'none of the secrets has made this signature');
  const apart = Math.abs(now - Number(timestamp) * 1_000);
  return apart <= tolerance ? { kind: 'good' } : refuse('webhook_stale', `signed ${Math.round(apart / 1_000)} s away from now`);
}

const MOST_SIGNATURES = 4;

function refuse(reason: 'webhook_signature' | 'webhook_stale', detail: string): SignatureVerdict {
  return { kind: 'refused', reason, detail };
}

function valuesOf(fields: readonly string[], wanted: string): readonly string[] {
  return fields.flatMap((name, index) => (index % 2 === 0 && name.toLowerCase() === wanted ? [fields[index + 1] ?? ''] : []));
}
