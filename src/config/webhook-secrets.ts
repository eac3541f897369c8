import { createHmac } from 'node:crypto';
import type { CheckedFiles } from './checked-files.ts';
import { show, type Fault } from './issue.ts';
import type { Config } from './schema.ts';

/** The secret in a file: senders leave its line end out as well. */
export function secretIn(file: Uint8Array): Uint8Array {
  const ending = file.at(-1) !== 0x0a ? 0 : file.at(-2) === 0x0d ? 2 : 1;
  return file.subarray(0, file.length - ending);
}

/**
 * Webhooks that have a secret in common, in whatever files: nothing in an event says for which of them it was signed, so that one that was
 * seen on its way to the one could be brought to the other.
 */
export function sharedSecretFaults({ webhooks }: Pick<Config, 'webhooks'>, files: Pick<CheckedFiles, 'bytes'>): Fault[] {
  const owners = new Map<string, string>();
  return Object.entries(webhooks).flatMap(([webhook, { secrets = [] }]) => secrets.flatMap((file): Fault[] => {
    // Compared by what they sign: HMAC fills short keys up with zeros and hashes long ones (RFC 2104 section 2).
    const mark = createHmac('sha256', secretIn(files.bytes(file))).digest('hex');
    const owner = owners.get(mark) ?? webhook;
    owners.set(mark, owner);
    return owner === webhook ? [] : [{ path: ['webhooks', webhook, 'secrets'], message: `${show(file)} holds a secret of the webhook ${owner}, too: each would take what was signed for the other` }];
  }));
}
