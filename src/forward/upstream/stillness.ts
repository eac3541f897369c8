import type { Duplex } from 'node:stream';

export interface Stillness {
  /** From now on after so many milliseconds; infinite for never. */
  after(ms: number): void;
  /** Lets go of the connection. */
  stop(): void;
}

/** Calls `still` whenever nothing has passed on a connection for `ms`, each time anew: requests of Node's tell of it once only. */
export function watchStillness(connection: Duplex, ms: number, still: () => void): Stillness {
  const socket = connection as Duplex & { setTimeout?(ms: number): void };
  let period = ms;
  const look = (): void => {
    still();
    arm();
  };
  const arm = (): void => {
    if (!socket.destroyed) socket.setTimeout?.(period === Infinity ? 0 : period);
  };
  socket.on('timeout', look);
  arm();
  return {
    after(next) {
      period = next;
      arm();
    },
    stop: () => void socket.off('timeout', look),
  };
}
