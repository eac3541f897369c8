import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { reasonCodes } from '../ca/extensions.ts';
import type { Reason } from '../ca/extensions.ts';

// rsa1024 and sha1 parse, so that the refusal is the issuing code's own and the same for whoever calls it.
const keyType = z.enum(['ec', 'ec384', 'ec521', 'rsa', 'rsa1024', 'rsa3072', 'rsa4096', 'ed25519']);
const days = z.int().min(1);
const name = z.string().min(1).max(64);
const fileName = z.string().regex(/^[a-z0-9-]{1,32}$/);
const authority = z.strictObject({ name, key: keyType, days });
const reason = z.enum(Object.keys(reasonCodes) as [Reason, ...Reason[]]);

const profileSchema = z.strictObject({
  organization: name,
  signature_hash: z.enum(['sha1', 'sha256', 'sha384', 'sha512']).optional(),
  root: authority,
  issuing: authority,
  backend_ca: authority,
  server: z.strictObject({ names: z.array(z.string()).min(1), addresses: z.array(z.string()), keys: z.tuple([keyType], keyType), days }),
  backend: z.strictObject({ names: z.array(z.string()).min(1), addresses: z.array(z.string()), key: keyType, days }),
  gateway: z.strictObject({ name, unit: name, key: keyType, days }),
  responder: z.strictObject({ name, unit: name, key: keyType, days, url: z.url() }),
  clients: z.array(z.strictObject({
    file: fileName, name, unit: name, key: keyType, days, uri: z.string().optional(), dns: z.string().optional(), revoked: reason.optional(),
  })).min(1),
  pkcs12: z.strictObject({ password: z.string().min(1), iterations: z.int().min(10_000) }),
});

/** What the generator makes: key types, lifetimes in days, names. */
export type Profile = z.output<typeof profileSchema>;
export type ClientProfile = Profile['clients'][number];

export interface LoadedProfile {
  readonly profile: Profile;
  /** SHA-256 of its text; what was made from another profile is made anew. */
  readonly digest: string;
}

/** Reads the generator's profile. Throws an Error that names the file and every field that is wrong. */
export async function loadProfile(file: string): Promise<LoadedProfile> {
  const text = await readFile(file, 'utf8');
  const parsed = profileSchema.safeParse(parseJson(text, file));
  if (!parsed.success) {
    const lines = parsed.error.issues.map((issue) => `${file}: ${issue.path.join('.')}: ${issue.message}`);
    throw new Error(lines.join('\n'));
  }
  return { profile: parsed.data, digest: createHash('sha256').update(text).digest('hex') };
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Error(`${file}: not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
