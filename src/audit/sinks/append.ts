import { open } from 'node:fs/promises';

/** Appends lines to a file (0600 when it is made); they are on the disk when this resolves. */
export async function appendLines(file: string, lines: readonly string[]): Promise<void> {
  if (lines.length === 0) return;
  const handle = await open(file, 'a+', 0o600);
  try {
    const { size } = await handle.stat();
    const last = Buffer.alloc(1, 10);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    // What a kill left of a line there must not be glued to this one.
    await handle.appendFile(`${last[0] === 10 ? '' : '\n'}${lines.join('\n')}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
