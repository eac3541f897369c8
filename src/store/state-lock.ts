import { chmodSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

/** The state directory is in use, or must not be used. */
export class StateError extends Error {
  readonly code: 'state_in_use' | 'state_open_to_others';

  constructor(code: StateError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

export interface StateLock {
  release(): void;
}

/**
 * Takes a state directory for this process alone, making it (0700) when it is not there. Throws a StateError while another
 * process has it. The lock is SQLite's on a file of the directory: the kernel lets it go with the process, kill -9 included,
 * which a pid file does not.
 */
export function lockState(directory: string): StateLock {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  if ((statSync(directory).mode & 0o022) !== 0) {
    throw new StateError('state_open_to_others', `${directory}: others can write to the state directory; expected mode 0700`);
  }
  const file = join(directory, 'lock');
  const database = new DatabaseSync(file);
  try {
    chmodSync(file, 0o600);
    database.exec('PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
  } catch (error) {
    database.close();
    if (!/locked|busy/i.test((error as Error).message)) throw error;
    throw new StateError('state_in_use', `${directory}: another gateway is running on this state directory`);
  }
  return {
    release() {
      if (database.isOpen) database.close();
    },
  };
}

/** The same, where another process is about to let the directory go; throws the StateError once that has taken `most` ms. */
export async function lockStateWhenFree(directory: string, most: number): Promise<StateLock> {
  const deadline = performance.now() + most;
  for (;;) {
    try {
      return lockState(directory);
    } catch (error) {
      if (!(error instanceof StateError) || error.code !== 'state_in_use' || performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const LOOK_MS = 10;
