import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Certificate } from '../../pki/certificate.ts';
import { encryptionKey, type EncryptionKey } from '../../pki/encryption-key.ts';
import type { Permit } from '../../policy/decision.ts';
import type { Reason } from '../../policy/facts.ts';
import type { KeyRegistry } from './registry.ts';

/** Whom the answers of a request are encrypted to. */
export interface Recipient extends Extract<EncryptionKey, { kind: 'key' }> {
  /** What of the protected header says whose key it is. */
  readonly names: Readonly<Record<string, string>>;
  /** Octets that an answer may have. */
  readonly most: number;
}

/** Why answers cannot be encrypted. */
export interface Unsealable {
  readonly kind: 'unsealable';
  readonly reason: Extract<Reason, 'encryption_key_unusable' | 'encryption_impossible'>;
  readonly detail: string;
}

const keys = new WeakMap<Certificate, EncryptionKey>();

/** The recipient of what a permitted request is answered; `registries` by the directory as the configuration has it. Undefined where answers leave as they are. */
export async function recipientOf({ sealed: encrypt, certificate, identity }: Permit, registries: ReadonlyMap<string, KeyRegistry>): Promise<Recipient | Unsealable | undefined> {
  if (encrypt === undefined) return undefined;
  if (certificate === undefined || identity === undefined) return unusable('nobody to encrypt to');
  if (encrypt.to === 'certificate') {
    const { leaf } = certificate;
    let found = keys.get(leaf);
    if (found === undefined) keys.set(leaf, found = encryptionKey(leaf.spki));
    return found.kind === 'key' ? { ...found, most: encrypt.max, names: { 'x5t#S256': Buffer.from(leaf.sha256, 'hex').toString('base64url') } } : unusable(`the certificate has ${found.detail}`);
  }
  const registry = encrypt.keys === undefined ? undefined : registries.get(encrypt.keys);
  const found = registry === undefined ? undefined : await registry.find(identity.id);
  if (found?.kind !== 'key') return unusable(found?.detail ?? 'no keys are configured');
  const spki = found.key.export({ format: 'der', type: 'spki' });
  return { ...found, most: encrypt.max, names: { kid: createHash('sha256').update(spki).digest('base64url') } };
}

function unusable(detail: string): Unsealable {
  return { kind: 'unsealable', reason: 'encryption_key_unusable', detail };
}

/** What has no answer that ends, or none as a whole. */
export function noSealed(what: string): Unsealable {
  return { kind: 'unsealable', reason: 'encryption_impossible', detail: `${what}, which is no answer that could be encrypted` };
}

/** The header section for the upstream of a request whose answer is encrypted: whole, not compressed, and never the news that it has not changed. */
export function sealedHeaders(headers: IncomingHttpHeaders, method: string): IncomingHttpHeaders {
  const out: IncomingHttpHeaders = { ...headers, 'accept-encoding': 'identity' };
  delete out.range;
  delete out['if-range'];
  if (method === 'GET' || method === 'HEAD') {
    delete out['if-none-match'];
    delete out['if-modified-since'];
  }
  return out;
}
