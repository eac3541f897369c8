import type { KeyObject } from 'node:crypto';
import type { CaEvent, EventStep, Ledger, NewEvent, Sealer } from './ledger.ts';
import { take, type State, type Step } from './life.ts';
import type { By, RequestBody } from './office-types.ts';
import { OfficeError } from './office-error.ts';
import type { CaPolicy } from './policy.ts';
import type { TakenBack } from './taken-back.ts';

/** What every part of an office stands on. */
export interface Ground {
  readonly directory: string;
  readonly ledger: Ledger;
  readonly takenBack: TakenBack;
  readonly policy: CaPolicy;
  /** SHA-256 of the policy as it is written. */
  readonly policyDigest: string;
  /** ms since the epoch */
  readonly now: () => number;
  /** PEM */
  readonly root: string;
  /** The private key of an issuing CA. Throws an OfficeError when the office was opened without a passphrase. */
  readonly key: (generation: number) => KeyObject;
  /** What seals events: the current issuing key, where the office has it. */
  readonly sealer: () => Sealer | undefined;
}

/** A request as the database has it. */
export interface RequestRow {
  readonly state: State;
  readonly body: RequestBody;
  readonly digest: string;
}

/** The issuing CA that issues; throws while there is none. */
export function currentGeneration({ ledger }: Pick<Ground, 'ledger'>): number {
  const row = ledger.database.prepare("SELECT generation FROM issuer WHERE state = 'current'").get();
  if (row === undefined) throw new OfficeError('not_a_ca', 'there is no issuing CA yet');
  return Number(row['generation']);
}

/** A request by its id or the serial number of its certificate, hexadecimal in any case. Throws an OfficeError when there is none. */
export function requestRow({ ledger: { database } }: Ground, id: string): RequestRow {
  const serial = id.toLowerCase().replace(/^(00)+(?=..)/, '');
  const row = database.prepare('SELECT id, state, body FROM request WHERE id = ? OR id = (SELECT request FROM certificate WHERE serial = ?)').get(id, serial);
  if (row === undefined) throw new OfficeError('unknown', `there is no request or certificate ${JSON.stringify(id)}`);
  return rowOf(row);
}

export function rowOf(row: Record<string, unknown>): RequestRow {
  const { digest, ...body } = JSON.parse(row['body'] as string) as RequestBody & { digest: string };
  return { state: row['state'] as State, body, digest };
}

/** Within a change: takes a step of a request's life, on record. Throws an OfficeError when another step has to come first. */
export function step(ground: Ground, id: string, what: Step, event: By & { readonly serial?: string; readonly detail?: NewEvent['detail'] }): CaEvent {
  const { database } = ground.ledger;
  const row = database.prepare('SELECT state FROM request WHERE id = ?').get(id);
  const outcome = take(row?.['state'] as State | undefined, what);
  if (outcome.kind === 'refused') throw new OfficeError('step', `${id}: ${outcome.detail}`);
  database.prepare('UPDATE request SET state = ? WHERE id = ?').run(outcome.state, id);
  return record(ground, what, { request: id, ...event });
}

/** Within a change: puts something on record. */
export function record(ground: Ground, what: EventStep, { who, why, request, serial, detail = {} }: By & { readonly request?: string; readonly serial?: string; readonly detail?: NewEvent['detail'] }): CaEvent {
  if (who.trim() === '') throw new OfficeError('invalid', 'who does this? a name is needed for the record');
  const fields = { ...(why === undefined ? {} : { why }), ...(request === undefined ? {} : { request }), ...(serial === undefined ? {} : { serial }) };
  return ground.ledger.append({ step: what, who, ...fields, detail }, ground.now(), ground.sealer());
}
