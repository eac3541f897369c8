import { hostname } from 'node:os';
import { Worker } from 'node:worker_threads';
import { resolve } from 'node:path';
import { ALARMS_CONSUMER, alarmsSetup } from './audit/alarms/configured.ts';
import type { AlarmsAsk } from './audit/alarms/consumer.ts';
import type { AlarmReport } from './audit/alarms/desk.ts';
import type { SafeBoard } from './audit/board.ts';
import { EXPIRY_CONSUMER, expirySetup } from './audit/expiry/configured.ts';
import type { ExpiryAsk } from './audit/expiry/consumer.ts';
import { beginningOf, type Beginning } from './audit/feed.ts';
import { beginPosition, feedDirectory } from './audit/positions.ts';
import { segmentNames } from './audit/segment-file.ts';
import { sinkSetup } from './audit/sinks/configured.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { EvidenceBirth, EvidenceReport, EvidenceSetup, FromEvidence, ToEvidence } from './evidence-protocol.ts';
import type { Log } from './log.ts';
import { openLine, type Line } from './store/call.ts';
import { VERSION } from './version.ts';

/** How the records are on their way to those who get them. */
export interface DispatchReport {
  /** Whether the thread that hands them out runs. */
  readonly up: boolean;
  /** How often it had to be started again. */
  readonly restarts: number;
  readonly consumers: EvidenceReport;
}

/** The thread that hands records out, seen from the main thread. It is there only where somebody gets records. */
export interface Dispatch {
  /** Brings the consumers to those of a snapshot. Never rejects: the gateway serves whatever becomes of them. */
  adopt(snapshot: Snapshot): Promise<void>;
  /** Undefined where nobody gets records. */
  report(): Promise<DispatchReport | undefined>;
  /** Rejects where there are no alarms, or the thread does not run at the moment. */
  alarms<Answer>(ask: AlarmsAsk): Promise<Answer>;
  /** The same for warnings of what ends. */
  expiry<Answer>(ask: ExpiryAsk): Promise<Answer>;
  /** All writers are closed: hands out what it can in a moment. Never rejects. */
  close(): Promise<void>;
}

export interface DispatchOptions {
  /** Where the segments are, and the state; absolute. */
  readonly directory: string;
  readonly state: string;
  readonly board: SafeBoard;
  readonly log: Log;
  /** An alarm was opened. */
  readonly raised: (alarm: AlarmReport) => void;
}

interface Running {
  readonly worker: Worker;
  readonly line: Line<ToEvidence>;
  readonly startedAt: number;
}

const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './evidence.ts' : './evidence.js', import.meta.url);
const CONFIGURE_MS = 10_000;
/** Who asks for the state of the gateway waits for it. */
const REPORT_MS = 1_000;
/** How long a stop waits for receivers. */
const CLOSE_MS = 3_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** One that has run so long has not died at once. */
const STEADY_MS = 60_000;
/** Nothing of it may grow with what waits; if something does, it is this thread that ends and not the process. */
const MOST_MEMORY_MIB = 512;

/** Hands records out once a snapshot says to whom. */
export function createDispatch({ directory, state, board, log, raised }: DispatchOptions): Dispatch {
  const positions = feedDirectory(state);
  const began = Date.now();
  let setup: EvidenceSetup | undefined;
  let begin: Beginning = 'start';
  let running: Running | undefined;
  let restarts = 0;
  let pause = FIRST_PAUSE_MS;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let last: EvidenceReport = [];
  let turn: Promise<void> = Promise.resolve();

  function start(wanted: EvidenceSetup): void {
    timer = undefined;
    const birth: EvidenceBirth = { directory, positions, began, board: board.buffer, state };
    const worker = new Worker(ENTRY, { workerData: birth, name: 'feed', resourceLimits: { maxOldGenerationSizeMb: MOST_MEMORY_MIB } });
    const line = openLine<ToEvidence, FromEvidence>(worker, answer);
    const own: Running = { worker, line, startedAt: performance.now() };
    running = own;
    worker.on('error', (error: unknown) => log.error({ error: error instanceof Error ? error.stack : String(error) }, 'the thread that hands records out failed'));
    worker.on('exit', (code) => {
      line.hangUp(new Error(`the thread that hands records out ended with code ${code}`));
      if (running === own) ended(own, code);
    });
    void configure(own, wanted);
  }

  function ended({ startedAt }: Running, code: number): void {
    running = undefined;
    if (closed) return;
    pause = performance.now() - startedAt > STEADY_MS ? FIRST_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, pause * 2);
    restarts += 1;
    log.error({ code, again_in_ms: pause }, 'the thread that hands records out ended and is replaced; what was not delivered is kept');
    timer = setTimeout(() => setup !== undefined && start(setup), pause);
  }

  function answer(told: FromEvidence): void {
    if (told.kind === 'raised') raised(told.alarm);
    else log.warn({ detail: told.detail }, 'records on their way');
  }

  function configure({ line, worker }: Running, wanted: EvidenceSetup): Promise<void> {
    return line.call<void>({ kind: 'configure', setup: wanted, begin }, CONFIGURE_MS).catch((error: Error) => {
      if (closed) return;
      log.error({ error: error.message }, 'the thread that hands records out does not take its configuration');
      // Its exit starts the next attempt.
      void worker.terminate();
    });
  }

  async function change(snapshotNow: Snapshot): Promise<void> {
    // Who is there from the start gets all that is recorded from the start.
    begin = setup === undefined ? 'start' : 'now';
    setup = setupOf(snapshotNow, positions, state);
    notePositions(setup);
    if (running !== undefined && !isWanted(setup)) return end(running);
    if (running !== undefined) return configure(running, setup);
    if (timer === undefined && isWanted(setup)) start(setup);
  }

  /**
   * Where everybody begins is on the disk before anything more is served: a process that is killed before its consumers have begun
   * would have them begin with the next start, and nobody would get what it had recorded.
   */
  function notePositions({ sinks, alarms, expiry }: EvidenceSetup): void {
    const consumers = [...(alarms === undefined ? [] : [{ name: ALARMS_CONSUMER, history: false }]), ...(expiry === undefined ? [] : [{ name: EXPIRY_CONSUMER, history: false }]), ...sinks];
    for (const { name, history } of consumers) {
      try {
        beginPosition(positions, name, () => beginningOf(segmentNames(directory), board, history ? 'everything' : begin));
      } catch (error) {
        log.error({ sink: name, error: (error as Error).message }, 'where a sink begins could not be written');
      }
    }
  }

  async function end(own: Running): Promise<void> {
    running = undefined;
    last = [];
    await own.line.call<void>({ kind: 'close', deadline: CLOSE_MS }, CLOSE_MS + 1_000).catch((error: Error) => log.warn({ error: error.message }, 'the thread that hands records out did not finish'));
    await own.worker.terminate();
  }

  return {
    adopt: (snapshotNow) => turn = turn.then(() => (closed ? undefined : change(snapshotNow))),
    async report() {
      if (!isWanted(setup)) return undefined;
      const found = await running?.line.call<EvidenceReport>({ kind: 'report' }, REPORT_MS).catch(() => undefined);
      last = found ?? last;
      return { up: found !== undefined, restarts, consumers: last };
    },
    alarms(ask) {
      if (setup?.alarms === undefined) return Promise.reject(new Error('no alarms are configured'));
      return running?.line.call({ kind: 'alarms', ask }, REPORT_MS) ?? Promise.reject(new Error('the thread that keeps alarms does not run at the moment'));
    },
    expiry(ask) {
      if (setup?.expiry === undefined) return Promise.reject(new Error('no warnings of what ends are configured'));
      return running?.line.call({ kind: 'expiry', ask }, REPORT_MS) ?? Promise.reject(new Error('the thread that warns of what ends does not run at the moment'));
    },
    async close() {
      if (closed) return;
      closed = true;
      clearTimeout(timer);
      await turn;
      if (running !== undefined) await end(running);
    },
  };
}

function isWanted(setup: EvidenceSetup | undefined): boolean {
  return setup !== undefined && (setup.sinks.length > 0 || setup.alarms !== undefined || setup.expiry !== undefined);
}

/** Who gets records, with all that it takes. */
function setupOf({ config, sinks, alarmChannels, directory }: Snapshot, positions: string, state: string): EvidenceSetup {
  const alarms = alarmsSetup(config, alarmChannels, state);
  const expiry = expirySetup(config, alarmChannels, state);
  return {
    ...(alarms === undefined ? {} : { alarms }),
    ...(expiry === undefined ? {} : { expiry }),
    sinks: config.audit.sinks.map((sink) => sinkSetup(sink, sinks[sink.name], (path) => resolve(directory, path), positions)),
    masked: { audit: { masking: config.audit.masking }, routes: config.routes.map(({ name, match: { path } }) => ({ name, match: { path } })) },
    reporter: { name: hostname(), version: VERSION },
  };
}
