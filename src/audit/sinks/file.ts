import { appendLines } from './append.ts';
import type { Consumer } from '../feed.ts';
import type { SinkGround } from './ground.ts';
import type { FileSetup } from './setup.ts';

/** Appends lines to a file; a batch is safe once it is flushed. */
export function openFileSink({ name, file, form }: FileSetup, { forms }: SinkGround): Consumer {
  const write = forms[form];
  return {
    name,
    async take(batch) {
      await appendLines(file, batch.flatMap((fed) => write(fed) ?? []));
    },
  };
}
