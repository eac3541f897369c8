import { join } from 'node:path';
import type { Transfer } from '../identity/people.ts';
import { prepareText } from '../pki/preparation.ts';
import { areTexts, fieldsOf, isTime, openJournal, readJournal, unusable, type ChangeKind, type Journal, type JournalOptions } from './journal.ts';

/** A person has come to other roles, or has those of their certificate again; `at` is when, ISO 8601. */
export type TransferChange =
  | ({ readonly op: 'transfer'; readonly who: string; readonly reason: string; readonly at: string } & Transfer)
  | { readonly op: 'restore'; readonly id: string; readonly who: string; readonly reason: string; readonly at: string };

/** Opens the transfers of a state directory, whose lock the caller holds. */
export function openTransfers(state: string): Journal<TransferChange> {
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
  return { file: join(state, 'transfers.jsonl'), entry: 'transfer', fault: unusable('transfers_unusable'), ...TRANSFERS };
}

/** What the list of transfers is made of. */
export const TRANSFERS: ChangeKind<TransferChange> = { parse: parseTransferChange, subject: ({ id }) => prepareText(id), winner: 'transfer' };

function parseTransferChange(json: string): TransferChange | undefined {
  const fields = fieldsOf(json);
  if (fields === undefined) return undefined;
  const texts = (list: unknown): boolean => Array.isArray(list) && list.length > 0 && list.every((one) => typeof one === 'string');
  if (!areTexts(fields, ['id', 'who', 'reason']) || !isTime(fields['at'])) return undefined;
  if (fields['op'] === 'transfer' ? !texts(fields['roles']) || !texts(fields['within']) : fields['op'] !== 'restore') return undefined;
  return fields as unknown as TransferChange;
}
