import type { ChildProcess } from 'node:child_process';

/** Everything a process prints, as it comes. */
export function outputOf(child: ChildProcess, heard: (all: string) => void = () => undefined): () => string {
  let all = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      all += chunk;
      heard(all);
    });
  }
  return () => all;
}

/** Waits until a process has printed `until`, and gives what it has printed by then; rejects when it ends before, or takes longer than `most` ms. */
export async function printed(child: ChildProcess, until: string, most: number): Promise<string> {
  const said = Promise.withResolvers<void>();
  const output = outputOf(child, (all) => {
    if (all.includes(until)) said.resolve();
  });
  const timer = setTimeout(() => said.reject(new Error(`not within ${most} ms: ${until}\n${output()}`)), most);
  child.once('exit', (code) => said.reject(new Error(`ended with ${code ?? 'a signal'}\n${output()}`)));
  await said.promise.finally(() => clearTimeout(timer));
  return output();
}
