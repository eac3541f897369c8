import { createHash } from 'node:crypto';
import type { Cells } from './cells.ts';
import { subjectName, type Subject } from './enrolments.ts';

/**
 * Whose a security key is: so that one that is used with somebody else's certificate is called by its name on record, and nobody enrols
 * another's. What decides is the enrolment.
 */
export interface KeyOwners {
  /** Notes a key as somebody's; false when it is another's. */
  claim(key: string, subject: Subject): Promise<boolean>;
  /** Whether it is somebody else's. */
  isOfAnother(key: string, subject: Subject): Promise<boolean>;
  release(key: string, subject: Subject): Promise<void>;
}

/** Keeps owners in cells, under the SHA-256 of the key's id. */
export function createKeyOwners(cells: Cells): KeyOwners {
  const nameOf = (key: string): string => `credential:${createHash('sha256').update(key).digest('hex')}`;
  return {
    claim: (key, subject) => cells.update(nameOf(key), (held) => {
      const owner = subjectName(subject);
      return held === undefined ? { result: true, value: owner } : { result: held === owner };
    }),
    isOfAnother: (key, subject) => cells.update(nameOf(key), (held) => ({ result: held !== undefined && held !== subjectName(subject) })),
    release: (key, subject) => cells.update(nameOf(key), (held) => (held === subjectName(subject) ? { result: undefined, value: null } : { result: undefined })),
  };
}
