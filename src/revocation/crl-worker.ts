import { createHash } from 'node:crypto';
import { parentPort, workerData } from 'node:worker_threads';
import { PkiError } from '../pki/der.ts';
import { crlBlocks, crlSigners, loadCrl } from './crl-load.ts';
import type { CrlContext, CrlOutcome, CrlSigners } from './crl-load.ts';

/** What a worker is started with; the files follow, one message each. */
export interface CrlJob {
  readonly context: CrlContext;
  /** SHA-256 of the CRLs that need not be read again. */
  readonly known: readonly string[];
}

export interface CrlFileMessage {
  readonly source: string;
  readonly bytes: Uint8Array;
}

/** The answer to one file: what became of each of its CRLs. */
export type CrlFileAnswer = readonly (CrlOutcome | { readonly kind: 'same'; readonly sha256: string })[];

const { context, known } = workerData as CrlJob;
const signers = crlSigners(context);
parentPort?.on('message', ({ source, bytes }: CrlFileMessage) => {
  parentPort?.postMessage(answer(source, bytes, signers, new Set(known)));
});

function answer(source: string, bytes: Uint8Array, who: CrlSigners, unchanged: ReadonlySet<string>): CrlFileAnswer {
  try {
    return crlBlocks(bytes).map((der) => {
      const sha256 = createHash('sha256').update(der).digest('hex');
      return unchanged.has(sha256) ? { kind: 'same', sha256 } : loadCrl(source, der, who);
    });
  } catch (error) {
    const reason = error instanceof PkiError ? 'malformed' : 'failed';
    return [{ kind: 'refused', problem: { source, reason, detail: (error as Error).message } }];
  }
}
