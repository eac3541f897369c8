import { randomUUID } from 'node:crypto';
import type { AuditRecord } from './audit/record.ts';
import type { AuditWriter } from './audit/writer.ts';
import type { GrantAsk } from './forward/client.ts';
import type { Log } from './log.ts';
import { createOpenGrants } from './open-grants.ts';
import type { GrantFinding, OpenGrant } from './policy/break-glass.ts';
import type { GrantChange, GrantList, GrantReport } from './store/grants.ts';
import { applied } from './store/journal.ts';

/** Grants for emergencies: opened by requests, ended by time or by somebody, and kept until somebody has reviewed them, and after. */
export interface BreakGlass {
  /** The grant that a request may use; opened where it says why, and none is open. Never rejects. */
  find(ask: GrantAsk): Promise<GrantFinding>;
  /**
   * Ends a grant before its time. Rejects when there is none of that id that is open; and when that cannot be put on record, which is made up
   * for later: the grant is ended all the same.
   */
  withdraw(id: string, who: string, note: string): Promise<void>;
  /** Rejects when there is none of that id, when it is still open, when it has been reviewed, or when that cannot be put on record. */
  review(id: string, who: string, note: string): Promise<void>;
  reports(): readonly GrantReport[];
  /** Those that a certificate (SHA-256, hex) may use, oldest first. */
  openFor(certificate: string): readonly GrantReport[];
  counts(): GrantCounts;
  /** Grants that were withdrawn and would not have ended yet: every thread must know them. */
  withdrawn(): readonly string[];
  /** Takes a change that another gateway made. */
  receive(change: GrantChange): void;
  /** Ends what has expired, and puts on record what could not be before. To be called about once a second. */
  look(): void;
}

export interface GrantCounts {
  readonly open: number;
  /** Ended or not. */
  readonly unreviewed: number;
}

export interface BreakGlassOptions {
  readonly list: GrantList;
  readonly audit: AuditWriter;
  /** Tells every thread what was withdrawn, and has it judge again what is under way. */
  readonly publish: (withdrawn: readonly string[]) => Promise<void>;
  /** Tells the other replicas. */
  readonly announce: (change: GrantChange) => Promise<void>;
  /** Somebody should look at this. */
  readonly alarm: (grant: GrantReport) => void;
  readonly now: () => number;
  readonly log: Log;
}

/** What was asked of a grant cannot be done with it. */
export class GrantError extends Error {
  readonly code = 'grant_unfit';
}

/** How much later than its own gateway others end a grant: it is theirs only when that one is gone. */
const GRACE_MS = 5_000;
/** Grants that nobody has reviewed: more than that are no emergencies. */
const MOST_UNREVIEWED = 10_000;
/** The same of one client: with a stolen certificate nobody must use up what others need. */
const MOST_OF_ONE = 1_000;

export function createBreakGlass({ list, audit, publish, announce, alarm, now, log }: BreakGlassOptions): BreakGlass {
  /** Grants that this gateway has opened since its start. */
  const ours = new Set<string>();
  const open = createOpenGrants();
  /** Those that have expired and are not closed yet, by id. */
  const expiring = new Map<string, 'recording' | 'owed' | 'recorded'>();
  /** Records of withdrawals that could not be written. */
  const owed: (() => Promise<void>)[] = [];
  const reviewing = new Set<string>();
  for (const report of list.unclosed()) if (isOpen(report)) open.add(report);

  function isOpen({ closed, until }: GrantReport): boolean {
    return closed === undefined && Date.parse(until) > now();
  }

  function record(report: GrantReport, fields: Partial<AuditRecord>): Promise<void> {
    const { certificate, serial, issuer, role, who, address, listener, request_id, route, patient } = report;
    return audit.append({
      time: new Date(now()).toISOString(), event: 'break_glass', result: 'done', request_id, listener, address, serial, issuer, fingerprint: certificate, role, id: who, route,
      ...(patient === undefined ? {} : { patient }), until: report.until, break_glass: describe(report), ...fields,
    });
  }

  /** Durable and on record before the request that opened it is served. */
  async function begin({ plea, lasts, client, route, breaks, patient, page }: GrantAsk & Required<Pick<GrantAsk, 'plea'>>): Promise<GrantFinding> {
    const unreviewed = list.unreviewed();
    if (unreviewed.length >= MOST_UNREVIEWED) return { kind: 'refused', detail: `${MOST_UNREVIEWED} grants have not been reviewed` };
    if (unreviewed.filter(({ role, who }) => role === client.role && who === client.who).length >= MOST_OF_ONE) return { kind: 'refused', detail: `${MOST_OF_ONE} grants of this client have not been reviewed` };
    const at = now();
    const report: GrantReport = {
      id: randomUUID(), at: new Date(at).toISOString(), until: new Date(at + lasts).toISOString(), route, breaks, ...client, reason: plea.reason, text: plea.text, ...(patient === undefined ? {} : { patient }),
      ...(page === undefined ? {} : { page }),
    };
    const change: GrantChange = { op: 'open', ...report };
    list.apply(change);
    ours.add(report.id);
    // From here on, so that two requests at once open one.
    open.add(report);
    alarm(report);
    try {
      await record(report, { detail: `opened${page === true ? ' on the page' : ''}: ${breaks.join(', ')}`, alarm: 'break_glass' });
    } catch (error) {
      takeBack(report);
      throw error;
    }
    void announce(change);
    return { kind: 'open', grant: grantOf(report) };
  }

  /** Nothing is served later under a grant whose beginning is not on record. It stays to be reviewed. */
  function takeBack(report: GrantReport): void {
    open.remove(report);
    ours.delete(report.id);
    const change: GrantChange = { op: 'close', id: report.id, at: new Date(now()).toISOString(), who: 'wardgate', note: 'its beginning could not be put on record' };
    applied(list, change);
    void announce(change);
  }

  async function close(report: GrantReport, at: string, why: { readonly who?: string; readonly note?: string } = {}): Promise<void> {
    const change: GrantChange = { op: 'close', id: report.id, at, ...why };
    const unkept = applied(list, change);
    ours.delete(report.id);
    open.remove(report);
    await Promise.all([publish(withdrawn()), announce(change)]);
    if (unkept !== undefined) throw unkept;
  }

  /** On record before it is closed: one whose end could not be recorded is found again, also after a restart. It serves nothing meanwhile. */
  async function expire(report: GrantReport): Promise<void> {
    const { id } = report;
    const state = expiring.get(id);
    if (state === 'recording') return;
    expiring.set(id, 'recording');
    try {
      if (state !== 'recorded') await record(report, { detail: 'expired' });
    } catch (error) {
      expiring.set(id, 'owed');
      // Once: it is tried every second.
      if (state === undefined) log.error({ error: (error as Error).message, id }, 'the end of a grant could not be put on record, and will be');
      return;
    }
    expiring.set(id, 'recorded');
    try {
      // Another gateway may have closed it meanwhile.
      if (list.report(id)?.closed === undefined) await close(report, new Date(now()).toISOString());
    } finally {
      expiring.delete(id);
    }
  }

  /** Whoever ends a grant must not have to wait for a disk: what cannot be put on record now is owed. */
  async function end(report: GrantReport, who: string, note: string): Promise<void> {
    const at = new Date(now()).toISOString();
    const write = (): Promise<void> => record(report, { time: at, who, detail: `withdrawn: ${note}` });
    const written = write().then(() => undefined, (error: Error) => {
      owed.push(write);
      return new Error(`the grant ${report.id} is withdrawn, which goes on record as soon as it can: ${error.message}`, { cause: error });
    });
    await close(report, at, { who, note });
    const failure = await written;
    if (failure !== undefined) throw failure;
  }

  function payOwed(): void {
    for (const write of owed.splice(0)) write().catch(() => owed.push(write));
  }

  /** The grant that serves a request. One that names nobody is for the patient whom its client has named on the page, if that is one and no more. */
  function usable({ client: { certificate }, route, patient, unnamed, breaks, page }: GrantAsk): GrantReport | 'several' | undefined {
    // Whoever said why they use a route of others has not said why they do so from elsewhere.
    const serves = (report: GrantReport): boolean => isOpen(report) && breaks.every((one) => report.breaks.includes(one)) && (page === undefined || report.page === true);
    const found = open.named({ certificate, route, patient }).findLast(serves);
    if (found !== undefined || unnamed !== true) return found;
    const declared = open.declared({ certificate, route }).filter(isOpen);
    return new Set(declared.map((one) => one.patient)).size > 1 ? 'several' : declared.findLast(serves);
  }

  function withdrawn(): readonly string[] {
    return list.reports().filter(({ closed, until }) => closed !== undefined && Date.parse(until) > now()).map(({ id }) => id);
  }

  function counts(): GrantCounts {
    return { open: list.unclosed().filter(isOpen).length, unreviewed: list.unreviewed().length };
  }

  function known(id: string): GrantReport {
    const report = list.report(id);
    if (report === undefined) throw new GrantError(`no grant ${JSON.stringify(id)}; expected the whole id, as wardgate break-glass list shows it`);
    return report;
  }

  return {
    async find(ask) {
      const { plea, route } = ask;
      const found = usable(ask);
      if (found === 'several') return { kind: 'refused', detail: 'it names nobody, and several patients were named on the page' };
      if (found !== undefined) return { kind: 'open', grant: grantOf(found) };
      if (plea === undefined) return { kind: 'none' };
      try {
        return await begin({ ...ask, plea });
      } catch (error) {
        log.error({ error: (error as Error).message, route }, 'a grant for an emergency could not be opened');
        return { kind: 'refused', detail: `the grant could not be kept: ${(error as Error).message}` };
      }
    },
    async withdraw(id, who, note) {
      const report = known(id);
      if (!isOpen(report)) throw new GrantError(`the grant ${id} is not open any more`);
      await end(report, who, note);
    },
    async review(id, who, note) {
      const report = known(id);
      if (report.review !== undefined) throw new GrantError(`the grant ${id} was reviewed by ${report.review.who} at ${report.review.at}`);
      if (isOpen(report)) throw new GrantError(`the grant ${id} is open until ${report.until}: withdraw it first, or wait`);
      if (reviewing.has(id)) throw new GrantError(`the grant ${id} is being reviewed`);
      reviewing.add(id);
      try {
        // In this order: one whose review is not on record waits for it.
        await record(report, { who, detail: `reviewed: ${note}` });
        const change: GrantChange = { op: 'review', id, at: new Date(now()).toISOString(), who, note };
        list.apply(change);
        await announce(change);
      } finally {
        reviewing.delete(id);
      }
    },
    reports: list.reports,
    openFor: (certificate) => list.unclosed().filter((report) => report.certificate === certificate && isOpen(report)),
    counts,
    withdrawn,
    receive(change) {
      try {
        applied(list, change);
      } catch (error) {
        return log.error({ error: (error as Error).message, id: change.id }, 'a grant of another gateway could not be taken');
      }
      const report = list.report(change.id);
      if (report === undefined) return;
      if (isOpen(report)) open.add(report);
      else open.remove(report);
      if (change.op !== 'close') return;
      expiring.delete(change.id);
      void publish(withdrawn());
    },
    look() {
      const at = now();
      list.settle();
      payOwed();
      for (const report of list.unclosed()) {
        if (Date.parse(report.until) + (ours.has(report.id) ? 0 : GRACE_MS) > at) continue;
        expire(report).catch((error: Error) => log.error({ error: error.message, id: report.id }, 'the end of a grant could not be kept'));
      }
    },
  };
}

function grantOf({ id, route, breaks, reason, text, patient, until }: GrantReport): OpenGrant {
  return { id, route, breaks, reason, text, ...(patient === undefined ? {} : { patient }), until: Date.parse(until) };
}

function describe({ id, reason, text, patient }: GrantReport): NonNullable<AuditRecord['break_glass']> {
  return { id, reason, text, ...(patient === undefined ? {} : { patient }) };
}
