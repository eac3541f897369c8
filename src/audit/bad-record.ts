/**
 * What was done to the first bad record. `rewritten`: it and perhaps others before were changed and their hashes computed anew, which
 * the checkpoint shows. `added`: nobody of ours wrote it. `unsigned`: a checkpoint without the key's signature.
 */
export type Tampering = 'edited' | 'removed' | 'reordered' | 'repeated' | 'added' | 'spliced' | 'truncated' | 'rewritten' | 'unsigned';

/** The first bad record: its line in the file from 1, and the number it has or should have. */
export interface BadRecord {
  readonly file: string;
  readonly line?: number;
  readonly seq?: number;
  readonly kind: Tampering;
  readonly detail: string;
}

/** Thrown to the top: the first bad record ends the search. */
export class Found extends Error {
  readonly bad: BadRecord;

  constructor(bad: BadRecord) {
    super(bad.detail);
    this.bad = bad;
  }
}
