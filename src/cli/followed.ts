import type { Evidence } from '../audit/evidence.ts';

/** How long reading may take before it is told how far it has come, and how often after that, in ms. */
const PATIENCE_MS = 2_000;

/** The same evidence, of which `tell` hears how many segments have been read: verifying years of it takes minutes, in which nothing else is looked at. */
export function followed(evidence: Evidence, tell: (text: string) => void): Evidence {
  let next = performance.now() + PATIENCE_MS;
  let read = 0;
  const reading: Pick<Evidence, 'read'> = {
    read: (segment, use) => {
      if (performance.now() >= next) {
        tell(`${read} of ${evidence.segments.length} segments read`);
        next = performance.now() + PATIENCE_MS;
      }
      read += 1;
      return evidence.read(segment, use);
    },
  };
  // What is read only when it is asked for stays so.
  return Object.assign(Object.create(evidence) as Evidence, reading);
}
