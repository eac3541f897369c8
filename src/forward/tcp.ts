import type { Duplex } from 'node:stream';
import type { StreamPermit } from '../policy/authorize.ts';
import type { Failed, Upstream } from './upstream/pool.ts';

export interface TcpForwarding {
  readonly permit: StreamPermit;
  readonly socket: Duplex;
  readonly upstream: Upstream;
  /** Whose stream it is, for the choice of an endpoint. */
  readonly key: string;
  /** Milliseconds both directions may be silent. */
  readonly idle: number;
}

export interface StreamEnd {
  /** Octets to the client and from it. */
  readonly bytesOut: number;
  readonly bytesIn: number;
  readonly fault?: string;
}

export type TcpOpened =
  | { readonly kind: 'open'; /** Joins the two connections; resolves when both have ended. */ join(): Promise<StreamEnd>; abandon(): void }
  | Failed;

/**
 * Opens the upstream side of a stream of any protocol (DICOM, MLLP). Nothing of the client is read before, and each side
 * may close its half: a sender that has said all still hears the answer.
 */
export async function openTcp({ socket, upstream, key, idle }: TcpForwarding): Promise<TcpOpened> {
  const opened = await upstream.connect(key);
  if (opened.kind === 'failed') return opened;
  const { socket: other, turn } = opened;
  other.once('close', () => turn.done('answered'));
  return {
    kind: 'open',
    abandon: () => void other.destroy(),
    join: () => new Promise((resolve) => {
      let bytesOut = 0;
      let bytesIn = 0;
      let fault: string | undefined;
      let open = 2;
      const cut = (reason: string) => (): void => {
        fault ??= reason;
        socket.destroy();
        other.destroy();
      };
      const closed = (): void => {
        // One side is gone for good: what the other still says has no reader.
        if (--open === 0) resolve({ bytesOut, bytesIn, ...(fault === undefined ? {} : { fault }) });
        else setImmediate(() => (socket.destroyed ? other : socket).destroy());
      };
      const timer = setTimeout(cut('idle for too long'), idle);
      const alive = (): void => void timer.refresh();
      socket.on('data', (chunk: Buffer) => {
        bytesIn += chunk.length;
        alive();
      });
      other.on('data', (chunk: Buffer) => {
        bytesOut += chunk.length;
        alive();
      });
      socket.on('error', cut('the client\'s connection failed'));
      other.on('error', cut('the upstream\'s connection failed'));
      for (const side of [socket, other]) side.once('close', closed);
      socket.once('close', () => clearTimeout(timer));
      if (socket.destroyed) {
        open = 1;
        return void other.destroy();
      }
      socket.pipe(other);
      other.pipe(socket);
    }),
  };
}
