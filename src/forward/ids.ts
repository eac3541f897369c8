import { randomFillSync } from 'node:crypto';

/** Ids are made for so many requests at once: asking for random octets one by one costs more than all the rest. */
const BATCH = 256;
const ID_LENGTH = 36;
const TRACEPARENT_LENGTH = 55;

const random = Buffer.alloc(BATCH * 40);
let ids = '';
let traceparents = '';
let used = BATCH;
let traced = BATCH;

/** A new request id: a random UUID (RFC 9562 section 5.4). */
export function newRequestId(): string {
  if (used === BATCH) {
    ids = batch((hex) => `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`);
    used = 0;
  }
  return ids.slice(used * ID_LENGTH, ++used * ID_LENGTH);
}

/** The `traceparent` (W3C Trace Context) of a trace that begins here, not sampled. */
export function newTraceparent(): string {
  if (traced === BATCH) {
    traceparents = batch((hex) => `00-${hex.slice(0, 32)}-${hex.slice(32, 48)}-00`);
    traced = 0;
  }
  return traceparents.slice(traced * TRACEPARENT_LENGTH, ++traced * TRACEPARENT_LENGTH);
}

/** One text without seams: slices of it are as good as texts of their own. */
function batch(format: (hex: string) => string): string {
  randomFillSync(random);
  const hex = random.toString('hex');
  let text = '';
  for (let at = 0; at < hex.length; at += hex.length / BATCH) text += format(hex.slice(at, at + hex.length / BATCH));
  return Buffer.from(text, 'latin1').toString('latin1');
}
