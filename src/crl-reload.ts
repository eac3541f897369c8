import { readCrlFiles } from './config/read-again.ts';
import type { Snapshot } from './config/snapshot.ts';
import type { Log } from './log.ts';
import type { CrlHandle } from './revocation/crl-handle.ts';
import type { Refresher } from './revocation/refresher.ts';

/** How soon CRL files that could not be read are tried again. */
const RETRY_MS = 5_000;

export interface CrlReloadOptions {
  /** The snapshot in force. */
  readonly snapshot: () => Snapshot;
  readonly refresher: Refresher;
  readonly publish: (handles: readonly CrlHandle[]) => Promise<void>;
  /** One change of what is in force at a time. */
  readonly serially: <Result>(change: () => Promise<Result>) => Promise<Result>;
  readonly stopped: () => boolean;
  readonly log: Log;
}

/**
 * The reload of CRL files, to be called when they have changed: they are read again without the rest of the configuration, which
 * may be half edited. Those that cannot be read are tried again; what was in force of them stays.
 */
export function createCrlReload({ snapshot, refresher, publish, serially, stopped, log }: CrlReloadOptions): () => void {
  function reload(): void {
    void serially(readAgain);
  }

  async function readAgain(): Promise<void> {
    try {
      const { crls, faults } = await readCrlFiles(snapshot());
      const revocation = await refresher.load({ ...snapshot(), crls }, faults);
      refresher.adopt(revocation);
      await publish(revocation.handles);
      log.info({ crls: revocation.handles.length, unread: faults.length }, 'CRLs read again');
      if (faults.length > 0) retry();
    } catch (error) {
      log.error({ error: (error as Error).message }, 'the changed CRL files could not be taken; the old ones stay in force until they end');
      retry();
    }
  }

  function retry(): void {
    const timer = setTimeout(() => {
      if (!stopped()) reload();
    }, RETRY_MS);
    timer.unref();
  }

  return reload;
}
