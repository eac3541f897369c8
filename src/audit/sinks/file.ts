import { open } from 'node:fs/promises';
import type { Consumer } from '../feed.ts';
import { formOf } from './form.ts';
import type { FileSetup } from './setup.ts';

/** Appends lines to a file; a batch is safe once it is flushed. */
export function openFileSink({ name, file, form }: FileSetup): Consumer {
  const write = formOf(form);
  return {
    name,
    async take(batch) {
      const lines = batch.flatMap((fed) => write(fed) ?? []);
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
    },
  };
}
