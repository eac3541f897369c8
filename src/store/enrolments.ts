import { createHash } from 'node:crypto';
import type { TotpSecret } from '../policy/second-factor.ts';
import type { Cells, LocalCells } from './cells.ts';
import type { SharedCells } from './shared-cells.ts';

/** Who an enrolment is of: the person or device, not the certificate, which is renewed. */
export interface Subject {
  readonly role: string;
  readonly id: string;
}

/** A secret that is only compared: scrypt of it, in hex, under a salt. */
export interface Salted {
  readonly salt: string;
  readonly digest: string;
}

/** A security key or passkey of somebody's (WebAuthn section 4, credential record). */
export interface SecurityKey {
  /** Credential id, base64url. */
  readonly id: string;
  /** COSE key (RFC 9052), base64url. */
  readonly publicKey: string;
  /** What the authenticator knows its owner by (user handle), base64url: random, since it may be read from a lost one. */
  readonly handle: string;
  /** The last signature counter. */
  readonly counter: number;
  /** What it was made for: it works nowhere else. */
  readonly rpId: string;
  /** What its owner calls it. */
  readonly name: string;
  /** ISO 8601 */
  readonly since: string;
  /** ISO 8601, of the last time it was shown. */
  readonly used?: string;
  readonly transports: readonly string[];
}

/** What somebody can show beside a certificate. A removed one stays as its name and version, so that an older copy does not come back. */
export interface Enrolment extends Subject {
  /** Grows with every change: of two copies the higher one is right. */
  readonly version: number;
  /** ISO 8601, of the last change. */
  readonly at: string;
  readonly totp?: TotpSecret & { readonly since: string };
  readonly recovery?: { readonly salt: string; readonly digests: readonly string[] };
  /** E.164. */
  readonly phone?: string;
  readonly card?: Salted;
  readonly keys?: readonly SecurityKey[];
  readonly invitation?: Salted & { /** ms since the epoch */ readonly expires: number };
}

export type EnrolmentChange<Result> = (held: Enrolment | undefined) => { readonly result: Result; readonly enrolment?: Omit<Enrolment, 'version' | 'at' | 'role' | 'id'> };

/** Who is enrolled for what. Survives restarts, and the loss of a shared store. */
export interface Enrolments {
  get(subject: Subject): Promise<Enrolment | undefined>;
  /** Changes an enrolment in one step; on disk here when it resolves. */
  change<Result>(subject: Subject, step: EnrolmentChange<Result>): Promise<Result>;
  /** Everybody's, removed ones included. */
  list(): Promise<readonly Enrolment[]>;
  /** Exchanges what is known here and in the shared store, so that both have the later version of each, and shows each to `visit`. */
  synchronize(visit?: (enrolment: Enrolment) => Promise<void>): Promise<void>;
}

export interface EnrolmentsOptions {
  /** On this gateway's disk. */
  readonly local: LocalCells;
  /** What the replicas share; absent: this gateway stands alone. */
  readonly shared: SharedCells | undefined;
  readonly now: () => number;
}

interface Changed<Result> {
  readonly result: Result;
  readonly changed: Enrolment | undefined;
}

const PREFIX = 'enrolment:';

/** The name under which something is kept of a person: tells who it is only to those who can guess. */
export function subjectName({ role, id }: Subject): string {
  return createHash('sha256').update(`${role}\0${id}`).digest('hex');
}

/**
 * Keeps enrolments: alone on disk; with replicas in the shared store, and a copy on the disk of each gateway that wrote or read one, or
 * has synchronized since. The shared store alone decides while it is there, nothing does while it is away.
 */
export function openEnrolments({ local, shared, now }: EnrolmentsOptions): Enrolments {
  const cellOf = (subject: Subject): string => PREFIX + subjectName(subject);

  /** The later of what a cell holds and what is known here. */
  function later(held: string | undefined, known: Enrolment | undefined): Enrolment | undefined {
    const there = held === undefined ? undefined : JSON.parse(held) as Enrolment;
    if (there === undefined || known === undefined) return there ?? known;
    return known.version > there.version ? known : there;
  }

  function read(cells: Cells, cell: string): Promise<Enrolment | undefined> {
    return cells.update(cell, (held) => ({ result: held === undefined ? undefined : JSON.parse(held) as Enrolment }));
  }

  /** Keeps a copy here, unless a later one is here already. */
  function keep(cell: string, enrolment: Enrolment): Promise<void> {
    return local.update(cell, (held) => {
      if (held !== undefined && (JSON.parse(held) as Enrolment).version >= enrolment.version) return { result: undefined };
      return { result: undefined, value: JSON.stringify(enrolment) };
    });
  }

  async function current(cell: string): Promise<Enrolment | undefined> {
    if (shared === undefined) return read(local, cell);
    const known = await read(local, cell);
    const found = await shared.update(cell, (held) => {
      const latest = later(held, known);
      return { result: latest, ...(latest === known && known !== undefined && held !== JSON.stringify(known) ? { value: JSON.stringify(known) } : {}) };
    });
    if (found !== undefined && found !== known) await keep(cell, found);
    return found;
  }

  async function cellsOfAll(): Promise<Iterable<string>> {
    return new Set([...local.entries(PREFIX).map(([cell]) => cell), ...await shared?.names(PREFIX) ?? []].sort());
  }

  return {
    get: (subject) => current(cellOf(subject)),
    async change<Result>(subject: Subject, step: EnrolmentChange<Result>): Promise<Result> {
      const cell = cellOf(subject);
      const known = await read(local, cell);
      const { result, changed } = await (shared ?? local).update<Changed<Result>>(cell, (held) => {
        const before = later(held, known);
        const { result: outcome, enrolment } = step(before);
        if (enrolment === undefined) return { result: { result: outcome, changed: undefined } };
        const after: Enrolment = { ...enrolment, role: subject.role, id: subject.id, version: (before?.version ?? 0) + 1, at: new Date(now()).toISOString() };
        return { result: { result: outcome, changed: after }, value: JSON.stringify(after) };
      });
      if (shared !== undefined && changed !== undefined) await keep(cell, changed);
      return result;
    },
    async list() {
      const found: Enrolment[] = [];
      for (const cell of await cellsOfAll()) {
        const enrolment = await current(cell);
        if (enrolment !== undefined) found.push(enrolment);
      }
      return found;
    },
    async synchronize(visit) {
      if (shared === undefined) return;
      for (const cell of await cellsOfAll()) {
        const enrolment = await current(cell);
        if (enrolment !== undefined) await visit?.(enrolment);
      }
    },
  };
}
