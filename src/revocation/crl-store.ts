import { createHash } from 'node:crypto';
import { Worker } from 'node:worker_threads';
import type { Snapshot } from '../config/snapshot.ts';
import { DEFAULT_ALGORITHMS } from '../pki/algorithms.ts';
import type { AlgorithmProfile } from '../pki/algorithms.ts';
import type { CrlAuthorities, CrlProblem } from './crl-load.ts';
import { crlKind, isNewer, isProven, newestOfEach } from './crl-handle.ts';
import type { CrlHandle } from './crl-handle.ts';
import type { CrlFileAnswer, CrlFileMessage, CrlJob } from './crl-worker.ts';

export type { CrlProblem } from './crl-load.ts';

/** The CRLs in use and what is wrong with the others, as `status` shows them. Times are milliseconds since the epoch. */
export interface CrlReport {
  readonly report: readonly CrlSummary[];
  readonly problems: readonly CrlProblem[];
}

export interface CrlSummary {
  readonly source: string;
  /** RFC 4514 text. */
  readonly issuer: string;
  readonly entries: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  /** Decimal. */
  readonly number?: string;
  readonly delta: boolean;
  /** False while no certificate of its issuer is known. */
  readonly verified: boolean;
}

export interface LoadedCrls extends CrlReport {
  readonly handles: readonly CrlHandle[];
  /** Of the certificates that the CRLs were verified under. */
  readonly authoritiesDigest: string;
}

export interface LoadCrlsOptions {
  readonly files: readonly { readonly file: string; readonly bytes: Uint8Array }[];
  readonly realms: readonly CrlAuthorities[];
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly algorithms?: AlgorithmProfile;
  /** Hands the bytes over: a list of 35 MB exists once, and the caller's arrays are empty afterwards. Default false. */
  readonly consume?: boolean;
  /** Milliseconds for all files together; default two minutes. */
  readonly deadline?: number;
}

/** The certificates of a snapshot that CRLs may be signed under. */
export function crlAuthorities(snapshot: Snapshot): readonly CrlAuthorities[] {
  return Object.values(snapshot.listeners).flatMap((listener) => listener.realms);
}

const DEADLINE_MS = 120_000;

/** What reading gave, of every file: `handles` may hold several of a kind, and the same one from several files. */
export interface ReadCrls {
  readonly handles: readonly CrlHandle[];
  readonly problems: readonly CrlProblem[];
  readonly authoritiesDigest: string;
}

/**
 * Reads, verifies and indexes CRL files, DER or PEM, in a thread of its own that ends with the work: neither the calling
 * thread nor those that serve stall, and what parsing took goes back to the system. What cannot be used is reported, never
 * thrown: the certificates it was about are unknown then. CRLs of `previous` whose bytes did not change are taken over as they are, and
 * no CRL is replaced by an older one of its kind (RFC 5280 section 5.2.3: numbers never go backwards).
 */
export async function readCrls(options: LoadCrlsOptions, previous?: Pick<ReadCrls, 'handles' | 'authoritiesDigest'>): Promise<ReadCrls> {
  const authoritiesDigest = digestOf(options.realms);
  const kept = previous?.authoritiesDigest === authoritiesDigest ? reusable(previous.handles) : new Map<string, CrlHandle>();
  const answers = options.files.length === 0 ? [] : await readFiles(options, [...kept.keys()]);
  const handles: CrlHandle[] = [];
  const problems: CrlProblem[] = [];
  answers.forEach((answer, index) => {
    for (const outcome of answer) {
      if (outcome.kind === 'same') handles.push({ ...kept.get(outcome.sha256)!, source: options.files[index]!.file });
      else if (outcome.kind === 'crl') handles.push(outcome.handle);
      if (outcome.kind !== 'same' && outcome.problem !== undefined) problems.push(outcome.problem);
    }
  });
  const { current, older } = withoutSteppingBack(handles, previous?.handles ?? []);
  return { handles: current, problems: [...problems, ...older], authoritiesDigest };
}

/** The same, with only the newest of each kind, and a report. */
export async function loadCrls(options: LoadCrlsOptions, previous?: LoadedCrls): Promise<LoadedCrls> {
  const { handles, problems, authoritiesDigest } = await readCrls(options, previous);
  const inUse = newestOfEach(handles);
  return { handles: inUse, report: inUse.map(summaryOf), problems, authoritiesDigest };
}

/** By SHA-256. One that is unverified is read again: its signer may be known by now. */
function reusable(handles: readonly CrlHandle[]): Map<string, CrlHandle> {
  return new Map(handles.filter((handle) => handle.proof.kind === 'verified').map((handle) => [handle.sha256, handle]));
}

function withoutSteppingBack(
  handles: readonly CrlHandle[],
  previous: readonly CrlHandle[],
): { current: CrlHandle[]; older: CrlProblem[] } {
  const before = new Map(previous.map((handle) => [crlKind(handle), handle]));
  const older: CrlProblem[] = [];
  const current = handles.map((handle) => {
    const known = before.get(crlKind(handle));
    if (known === undefined || !isNewer(known, handle)) return handle;
    const detail = `CRL of ${handle.issuer}: ${crlName(handle)} is older than ${crlName(known)}, which stays in use`;
    older.push({ source: handle.source, reason: 'older', detail });
    // Under the name of the older: the one it came by may be configured no longer, and then nothing would be left in force.
    return { ...known, source: handle.source };
  });
  return { current, older };
}

/** How a CRL is told from others of its kind, for people. */
export function crlName({ crlNumber, thisUpdate }: Pick<CrlHandle, 'crlNumber' | 'thisUpdate'>): string {
  return crlNumber === undefined ? `the one of ${new Date(thisUpdate).toISOString()}` : `number ${crlNumber}`;
}

/** A CRL as `status` shows it. */
export function summaryOf(handle: CrlHandle): CrlSummary {
  const { source, issuer, thisUpdate, nextUpdate, crlNumber, baseCrlNumber, index } = handle;
  return {
    source, issuer, thisUpdate, nextUpdate, entries: index.entries, delta: baseCrlNumber !== undefined, verified: isProven(handle),
    ...(crlNumber === undefined ? {} : { number: crlNumber.toString() }),
  };
}

/** Equal for the same certificates in the same order. */
export function digestOf(realms: readonly CrlAuthorities[]): string {
  const hash = createHash('sha256');
  for (const { anchors, intermediates } of realms) {
    hash.update(`${anchors.length} ${intermediates.length} `);
    // Certificates carry their own length: nothing can move from one into the next.
    for (const der of [...anchors, ...intermediates]) hash.update(der);
  }
  return hash.digest('hex');
}

/** One answer a file, in the order of the files. A worker that dies or takes too long leaves its files unread. */
async function readFiles(options: LoadCrlsOptions, known: readonly string[]): Promise<readonly CrlFileAnswer[]> {
  const { files, realms, now, algorithms = DEFAULT_ALGORITHMS, consume = false, deadline = DEADLINE_MS } = options;
  const context = { realms: realms.map(({ anchors, intermediates }) => ({ anchors, intermediates })), now, algorithms };
  const job: CrlJob = { context, known };
  const worker = new Worker(new URL(import.meta.url.endsWith('.ts') ? './crl-worker.ts' : './crl-worker.js', import.meta.url), { workerData: job });
  const answers: CrlFileAnswer[] = [];
  try {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`not read within ${deadline} ms`)), deadline);
      worker.on('error', reject);
      worker.on('exit', () => reject(new Error('the thread that reads CRLs ended')));
      worker.on('message', (answer: CrlFileAnswer) => {
        answers.push(answer);
        if (answers.length === files.length) resolve();
      });
      for (const { file, bytes } of files) post(worker, { source: file, bytes }, consume && isUsedOnce(files, bytes));
      worker.once('exit', () => clearTimeout(timer));
    });
  } catch (error) {
    const detail = (error as Error).message;
    return files.map(({ file: source }, index) =>
      answers[index] ?? [{ kind: 'refused', problem: { source, reason: 'failed', detail } }]);
  } finally {
    await worker.terminate();
  }
  return answers;
}

/** One file under two names is one buffer; it cannot be given away twice. */
function isUsedOnce(files: LoadCrlsOptions['files'], { buffer }: Uint8Array): boolean {
  return files.filter(({ bytes }) => bytes.buffer === buffer).length === 1;
}

function post(worker: Worker, message: CrlFileMessage, consume: boolean): void {
  const { buffer, byteLength } = message.bytes;
  // Files are read into one octet more than they have. Small buffers Node cuts from one that many share; that is not ours to give away.
  const whole = buffer instanceof ArrayBuffer && buffer.byteLength <= byteLength + 1;
  worker.postMessage(message, consume && whole ? [buffer] : []);
}
