import { appendLines } from './sinks/append.ts';

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
  let waiting: string[] = [];
  let writing: Promise<void> | undefined;

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const lines = waiting;
      waiting = [];
      try {
        await appendLines(file, lines);
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
      if (writing !== undefined && waiting.length % SUSPICIOUS === 0) warn(`${waiting.length} checkpoints of the audit wait for ${file}, which does not answer`);
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
