/** How long a command may be silent, and how often it shows then that it is still at work, in ms. */
const PATIENCE_MS = 2_000;
const TICK_MS = 1_000;
/** Wide enough for what was shown. */
const BLANK = ' '.repeat(12);

/** A terminal beside what the command prints. */
export interface Terminal {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/**
 * Shows on a terminal, from the third second on, for how long a command has been silent, in a line that the next one overwrites; nothing elsewhere.
 * `asking` says whether somebody is being asked for something at the moment. Returns what ends it, to be called before anything is printed.
 */
export function showWaiting(terminal: Terminal, asking: () => boolean): () => void {
  if (terminal.isTTY !== true) return () => undefined;
  const began = performance.now();
  let shown = false;
  const timer = setInterval(() => {
    const waited = performance.now() - began;
    if (waited < PATIENCE_MS || asking()) return;
    shown = true;
    terminal.write(`… ${Math.floor(waited / 1_000)} s\r`);
  }, TICK_MS);
  // A command that has nothing else to wait for is over.
  timer.unref();
  return () => {
    clearInterval(timer);
    if (shown) terminal.write(`${BLANK}\r`);
    shown = false;
  };
}
