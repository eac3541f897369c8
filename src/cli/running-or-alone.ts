import { asOwnerOf } from '../store/as-owner.ts';
import { lockState, StateError } from '../store/state-lock.ts';
import { callGateway } from './call.ts';
import { readPlaces, type Places } from './places.ts';

/** How long a gateway that holds the state may take to answer: it may be starting. */
const PATIENCE_MS = 10_000;

interface Closable {
  close(): void;
}

/**
 * Has the running gateway do it, or changes the list that `open` opens in the state of one that does not run, under its lock; never in
 * the state of one that does, which would not hear of it.
 */
export function runningOrAlone<List extends Closable, Result>(
  config: string, path: string, ask: object, open: (state: string) => List, change: (list: List) => Result,
): Promise<{ answer?: unknown; result?: Result }> {
  const places = readPlaces(config);
  return asOwnerOf(places.state, () => askedOrLocked(places, path, ask, open, change));
}

async function askedOrLocked<List extends Closable, Result>(
  { state, socket }: Places, path: string, ask: object, open: (state: string) => List, change: (list: List) => Result,
): Promise<{ answer?: unknown; result?: Result }> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await callGateway(socket, 'POST', path, ask);
    if (answer !== undefined) return { answer };
    try {
      return { result: locked(state, open, change) };
    } catch (error) {
      if (!(error instanceof StateError) || error.code !== 'state_in_use') throw error;
      if (Date.now() > deadline) throw new Error(`nothing was changed: a gateway holds ${state} and does not answer on ${socket}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

function locked<List extends Closable, Result>(state: string, open: (state: string) => List, change: (list: List) => Result): Result {
  const lock = lockState(state);
  try {
    const list = open(state);
    try {
      return change(list);
    } finally {
      list.close();
    }
  } finally {
    lock.release();
  }
}
