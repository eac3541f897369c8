import { isIP } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import type { ReceiverSetup } from './setup.ts';

/** A verified TLS connection to a receiver that reads and never answers. */
export interface ReceiverConnection {
  /** Resolves once the operating system has it; rejects when the connection has failed, or does not take it in time. */
  write(octets: Buffer): Promise<void>;
  /**
   * Closes in order: resolves once the receiver has closed as well, behind everything that was written. Whoever closes a connection without having
   * read all of it resets it, and then this rejects.
   */
  finish(): Promise<void>;
  /** Why nothing more can be written. */
  failure(): Error | undefined;
  /** Told once when the connection ends or fails by itself. */
  onEnd(told: (error: Error) => void): void;
  destroy(): void;
}

/** Connects; rejects when the receiver cannot be reached or is not who it should be. */
export function connectReceiver({ host, port, serverName, trust, certificate, key, timeout }: ReceiverSetup): Promise<ReceiverConnection> {
  return new Promise((resolve, reject) => {
    const place = `${host}:${port}`;
    const socket = connect({
      host, port, ca: trust, minVersion: 'TLSv1.2', rejectUnauthorized: true,
      // A name is both what is asked for and what is verified; an address is only verified.
      ...(isIP(serverName) === 0 ? { servername: serverName } : {}),
      ...(certificate === undefined || key === undefined ? {} : { cert: certificate, key }),
    });
    const timer = setTimeout(() => socket.destroy(new Error(`${place}: no TLS connection within ${timeout} ms`)), timeout);
    let failure: Error | undefined;
    let tell: ((error: Error) => void) | undefined;
    let ending = false;
    const fail = (error: Error): void => {
      clearTimeout(timer);
      if (failure !== undefined) return;
      failure = error;
      socket.destroy();
      reject(error);
      tell?.(error);
    };
    socket.on('error', (error) => fail(new Error(`${place}: ${error.message}`, { cause: error })));
    socket.on('end', () => ending || fail(new Error(`${place}: the receiver closed the connection`)));
    socket.on('close', () => ending || fail(new Error(`${place}: the connection was closed`)));
    // What it may send is nothing that we asked for; unread, it would keep the end from us.
    socket.resume();
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.setNoDelay(true);
      socket.setKeepAlive(true, 30_000);
      resolve({
        failure: () => failure,
        onEnd(told) {
          tell = told;
          if (failure !== undefined) told(failure);
        },
        write: (octets) => within(timeout, `${place}: a write was not taken within ${timeout} ms`, fail, (done, failed) => {
          if (failure !== undefined) return failed(failure);
          socket.write(octets, (error) => (error === null || error === undefined ? done() : failed(failure ?? error)));
        }),
        finish: () => {
          ending = true;
          return within(timeout, `${place}: the receiver did not close the connection within ${timeout} ms after the gateway had`, fail, (done, failed) => {
            if (failure !== undefined) return failed(failure);
            endInOrder(socket, done, failed, place);
          });
        },
        destroy() {
          ending = true;
          socket.destroy();
        },
      });
    });
  });
}

function endInOrder(socket: TLSSocket, done: () => void, failed: (error: Error) => void, place: string): void {
  let ended = false;
  socket.once('end', () => {
    ended = true;
  });
  socket.once('error', failed);
  socket.once('close', (hadError) => (ended && !hadError ? done() : failed(new Error(`${place}: the connection was cut before the receiver had closed it`))));
  socket.end();
}

/** Ends in time: what takes longer has failed, and so has the connection. */
function within(ms: number, late: string, fail: (error: Error) => void, start: (done: () => void, failed: (error: Error) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      const error = new Error(late);
      fail(error);
      reject(error);
    }, ms);
    start(() => {
      clearTimeout(timer);
      resolve();
    }, (error) => {
      clearTimeout(timer);
      fail(error);
      reject(error);
    });
  });
}
