import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { ArchiveError, type Archive } from '../audit/archive.ts';
import { input, InputError } from './input.ts';

/** What is done with the audit as a whole. */
export interface AuditTarget {
  readonly archive: Pick<Archive, 'note' | 'hold' | 'release' | 'prune'>;
  settle(): Promise<void>;
}

const text = z.string().min(1).max(1_000);
const who = z.string().min(1).max(200);
const time = z.iso.datetime();
const hex = z.string().regex(/^[0-9a-f]+$/).max(64);
const meant = { fingerprint: hex.exactOptional(), serial: hex.exactOptional(), patient: text.exactOptional(), route: text.exactOptional() };

const noteRequest = z.strictObject({ ...meant, id: text.exactOptional(), who, detail: z.string().min(1).max(4_000), settle: z.boolean() });
const holdRequest = z.strictObject({ ...meant, from: time.exactOptional(), to: time.exactOptional(), who, reason: text })
  .refine((order) => [...Object.keys(meant), 'from', 'to'].some((key) => Object.hasOwn(order, key)), { error: 'expected at least one of from, to, fingerprint, serial, patient and route' });
const releaseRequest = z.strictObject({ id: text, who, reason: text });
const pruneRequest = z.strictObject({ who, reason: text, before: time.exactOptional(), confirm: z.boolean() });

/** Answers a call about the audit; rejects with an InputError for what is not allowed. */
export async function answerAuditCall(request: IncomingMessage, { archive, settle }: AuditTarget): Promise<unknown> {
  try {
    switch (`${request.method} ${request.url}`) {
      case 'POST /v1/audit/note': {
        const { settle: afterwards, ...use } = await input(request, noteRequest);
        await archive.note(use);
        if (afterwards) await settle();
        return { noted: true };
      }
      case 'POST /v1/audit/hold':
        return { id: await archive.hold(await input(request, holdRequest)) };
      case 'POST /v1/audit/release': {
        const { id, who: by, reason } = await input(request, releaseRequest);
        return { released: await archive.release(id, by, reason) };
      }
      case 'POST /v1/audit/prune':
        return await archive.prune(await input(request, pruneRequest));
      default:
        throw new InputError(`no such call: ${request.method} ${request.url}`);
    }
  } catch (error) {
    if (error instanceof ArchiveError) throw new InputError(error.message);
    throw error;
  }
}
