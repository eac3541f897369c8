import { hostname } from 'node:os';
import { appendLines } from './sinks/append.ts';
import { connectReceiver } from './sinks/connection.ts';
import { frameCheckpoint } from './sinks/frame.ts';
import type { ReceiverSetup } from './sinks/setup.ts';

/** Where checkpoints are kept outside. Other storage may hang: nobody waits for it but who says so. */
export interface Anchor {
  add(line: string): void;
  /** Resolves once everything is there, or after `deadline` ms. */
  settled(deadline: number): Promise<void>;
}

/** The newest stand for those before them, so older ones may go when storage has been away for hours. */
const MOST_WAITING = 1_000;
/** Checkpoints that wait for storage that does not answer, before somebody is told. */
const SUSPICIOUS = 3;

/** Appends lines to a file on other storage, flushed, one write at a time. */
export function openAnchor(file: string, warn: (detail: string) => void): Anchor {
  return openOutside(file, (lines) => appendLines(file, lines), warn);
}

/** Sends lines to a receiver of syslog, on a connection that has to be closed in order each time: only then they are there. `now` in ms since the epoch. */
export function openSyslogAnchor(receiver: ReceiverSetup, now: () => number, warn: (detail: string) => void): Anchor {
  const host = hostname();
  return openOutside(`${receiver.host}:${receiver.port}`, async (lines) => {
    const connection = await connectReceiver(receiver);
    try {
      const time = new Date(now()).toISOString();
      for (const line of lines) await connection.write(frameCheckpoint(line, time, host, process.pid));
      await connection.finish();
    } finally {
      connection.destroy();
    }
  }, warn);
}

/** `put` puts lines there for good, or rejects. */
function openOutside(place: string, put: (lines: readonly string[]) => Promise<void>, warn: (detail: string) => void): Anchor {
  let waiting: string[] = [];
  let writing: Promise<void> | undefined;

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const lines = waiting;
      waiting = [];
      try {
        await put(lines);
      } catch (error) {
        warn(`a checkpoint of the audit was not anchored: ${(error as Error).message}`);
        // With the next checkpoint, then.
        waiting = [...lines, ...waiting];
        return;
      }
    }
  }

  return {
    add(line) {
      waiting = [...waiting, line].slice(-MOST_WAITING);
      if (writing !== undefined && waiting.length % SUSPICIOUS === 0) warn(`${waiting.length} checkpoints of the audit wait for ${place}, which does not answer`);
      writing ??= writeAll().finally(() => {
        writing = undefined;
      });
    },
    async settled(deadline) {
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([writing, new Promise((resolve) => {
        timer = setTimeout(resolve, deadline);
      })]);
      clearTimeout(timer);
    },
  };
}
