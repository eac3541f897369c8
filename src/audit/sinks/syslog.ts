import type { Consumer, FedRecord } from '../feed.ts';
import { connectReceiver, type ReceiverConnection } from './connection.ts';
import { frameRecord } from './frame.ts';
import type { SinkGround } from './ground.ts';
import type { SyslogSetup } from './setup.ts';

/** Batches that wait for their acknowledgement at most; then it is asked for, whatever the time. */
const WINDOW = 16;
/** What is written at a time; each time has a deadline of its own, so that slow is not gone. */
const SLICE_OCTETS = 65_536;
/** acknowledged: written. So long a connection must outlive what was written to it: one that is refused after the handshake is cut by then. */
const OUTLIVE_MS = 1_000;

interface Unacknowledged {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
  /** Milliseconds, monotonic. */
  readonly writtenAt: number;
}

/**
 * Sends records as messages of syslog over TLS. There are no acknowledgements: what was written counts as received once the receiver has closed the
 * connection in order behind it and a new one stands, or (acknowledged: written) once the connection has outlived it a while. Until then it is sent again
 * after every failure.
 */
export function openSyslogSink({ name, receiver, acknowledged, form, every }: SyslogSetup, { forms, host, process }: SinkGround): Consumer {
  const write = forms[form];
  const byClose = acknowledged === 'close';
  let connection: ReceiverConnection | undefined;
  const unacknowledged: Unacknowledged[] = [];
  /** What was handed over before a failure is stale: it comes again. */
  let era = 0;
  /** Fewer batches at a time for a receiver that was too slow to read as many before its time was up. */
  let most = WINDOW;
  let turn: Promise<unknown> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function inTurn<Result>(what: () => Promise<Result>): Promise<Result> {
    const result = turn.then(what);
    turn = result.catch(() => undefined);
    return result;
  }

  async function connected(): Promise<ReceiverConnection> {
    if (connection !== undefined && connection.failure() === undefined) return connection;
    const opened = await connectReceiver(receiver);
    if (closed) {
      opened.destroy();
      throw new Error('the sink is closed');
    }
    opened.onEnd((error) => connection === opened && broken(error));
    connection = opened;
    return opened;
  }

  /** Nothing of what is not acknowledged may be taken for received. */
  function broken(error: Error): void {
    connection?.destroy();
    connection = undefined;
    clearTimeout(timer);
    timer = undefined;
    if (unacknowledged.length === 0) return;
    most = 1;
    era += 1;
    for (const { reject } of unacknowledged.splice(0)) reject(error);
  }

  /** Resolves once it is written. */
  async function send(batch: readonly FedRecord[], own: number): Promise<{ readonly received: Promise<void> }> {
    if (own !== era || closed) throw new Error('sent again after a failure');
    try {
      const frames = batch.flatMap((fed) => {
        const text = write(fed);
        return text === undefined ? [] : [frameRecord(fed.record, text, form, host, process)];
      });
      if (frames.length === 0 && unacknowledged.length === 0) return { received: Promise.resolve() };
      const open = await connected();
      const octets = Buffer.concat(frames);
      for (let at = 0; at < octets.length; at += SLICE_OCTETS) await open.write(octets.subarray(at, at + SLICE_OCTETS));
    } catch (error) {
      era += own === era ? 1 : 0;
      broken(error as Error);
      throw error;
    }
    const received = new Promise<void>((resolve, reject) => unacknowledged.push({ resolve, reject, writtenAt: performance.now() }));
    // Who waits for it hears of it; until then it is nobody's unhandled rejection.
    received.catch(() => undefined);
    if (byClose && unacknowledged.length >= most) await closeAndReopen();
    else timer ??= setTimeout(askNow, byClose ? every : OUTLIVE_MS);
    return { received };
  }

  function askNow(): void {
    clearTimeout(timer);
    timer = undefined;
    void inTurn(byClose ? closeAndReopen : outlived);
  }

  async function closeAndReopen(): Promise<void> {
    clearTimeout(timer);
    timer = undefined;
    const old = connection;
    if (old === undefined || unacknowledged.length === 0) return;
    const own = era;
    try {
      await old.finish();
      connection = undefined;
      // One that was going down itself right then has not read what was on its way; it is not there any more, either.
      if (!closed) await connected();
    } catch (error) {
      era += own === era ? 1 : 0;
      return broken(error as Error);
    }
    most = Math.min(WINDOW, most * 2);
    for (const { resolve } of unacknowledged.splice(0)) resolve();
  }

  async function outlived(): Promise<void> {
    if (connection === undefined || connection.failure() !== undefined) return;
    const before = performance.now() - OUTLIVE_MS;
    while ((unacknowledged[0]?.writtenAt ?? Infinity) <= before) unacknowledged.shift()?.resolve();
    const next = unacknowledged[0];
    if (next !== undefined) timer ??= setTimeout(askNow, Math.max(1, next.writtenAt - before));
  }

  return {
    name, window: WINDOW,
    async take(batch) {
      const own = era;
      const { received } = await inTurn(() => send(batch, own));
      await received;
    },
    finish() {
      if (byClose && unacknowledged.length > 0) askNow();
    },
    close() {
      closed = true;
      clearTimeout(timer);
      connection?.destroy();
      broken(new Error('the sink is closed'));
    },
  };
}
