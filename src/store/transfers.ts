import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Transfer } from '../identity/people.ts';
import { prepareText } from '../pki/preparation.ts';
import { openJournal, readJournal, type ChangeKind, type Journal, type JournalOptions } from './journal.ts';

/** A person has come to other roles, or has those of their certificate again; `at` is when, ISO 8601. */
export type TransferChange =
  | ({ readonly op: 'transfer'; readonly who: string; readonly reason: string; readonly at: string } & Transfer)
  | { readonly op: 'restore'; readonly id: string; readonly who: string; readonly reason: string; readonly at: string };

/** Who has which roles by now must be known: a list that cannot be read stops the start. One that cannot be written changes nothing. */
export class TransfersError extends Error {
  readonly code = 'transfers_unusable';
}

/** Opens the transfers of a state directory, whose lock the caller holds. */
export function openTransfers(state: string): Journal<TransferChange> {
  mkdirSync(state, { recursive: true, mode: 0o700 });
  return openJournal(journalOf(state));
}

/** The transfers in force according to a state directory, for looking beside a running gateway. */
export function readTransfers(state: string): readonly Transfer[] {
  return transfersIn(readJournal(journalOf(state)));
}

/** Those in force of the last changes of everybody. */
export function transfersIn(changes: readonly TransferChange[]): readonly Transfer[] {
  return changes.flatMap((change) => (change.op === 'transfer' ? [{ id: change.id, roles: change.roles, within: change.within }] : []));
}

function journalOf(state: string): JournalOptions<TransferChange> {
  return { file: join(state, 'transfers.jsonl'), entry: 'transfer', fault: (message, cause) => new TransfersError(message, { cause }), ...TRANSFERS };
}

/** What the list of transfers is made of. */
export const TRANSFERS: ChangeKind<TransferChange> = { parse: parseTransferChange, subject: ({ id }) => prepareText(id), winner: 'transfer' };

function parseTransferChange(json: string): TransferChange | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  const texts = (list: unknown): boolean => Array.isArray(list) && list.length > 0 && list.every((one) => typeof one === 'string');
  if (!['id', 'who', 'reason', 'at'].every((name) => typeof fields[name] === 'string')) return undefined;
  if (fields['op'] === 'transfer' ? !texts(fields['roles']) || !texts(fields['within']) : fields['op'] !== 'restore') return undefined;
  return fields as unknown as TransferChange;
}
