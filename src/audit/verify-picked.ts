import { Found } from './bad-record.ts';
import type { Book } from './book.ts';
import { LEAD_OCTETS, follows, leadOf, statedLink, type Link } from './chain.ts';
import type { Evidence } from './evidence.ts';
import { isInTree } from './tree.ts';

/** What is counted of single records; `proven`: those that a signature covers. */
export interface PickedCounts {
  records: number;
  segments: number;
  unanchored: number;
  proven?: number;
}

/** Each record of a filtered export by itself: that it stands in its segment where the signed tree of that or a checkpoint shows it, and that it is as it was exported elsewhere. */
export function verifyPicked(evidence: Evidence, book: Book, counts: PickedCounts, notes: string[]): void {
  const last = new Map<string, Link>();
  let line = 0;
  let sealed = 0;
  let proven = 0;
  evidence.picked(({ segment, previous, record, proof }) => {
    line += 1;
    const stated = statedLink(record, 0, record.length);
    const text = Buffer.concat([leadOf({ seq: 0, hash: previous }), record]);
    const place = { file: segment, line, ...(stated === undefined ? {} : { seq: stated.seq }) };
    if (stated === undefined || !follows(text, LEAD_OCTETS, { ...stated, hashed: stated.hashed + LEAD_OCTETS }, { seq: stated.seq - 1, hash: previous })) {
      throw new Found({ ...place, kind: 'edited', detail: 'its content does not match its hash' });
    }
    const known = book.segments.get(segment);
    if (known === undefined) throw new Found({ ...place, kind: 'added', detail: 'no checkpoint knows its segment' });
    if (known.last.state !== 'open' && stated.seq > known.last.seq) throw new Found({ ...place, kind: 'added', detail: `its segment was closed with record ${known.last.seq}` });
    const before = last.get(segment);
    if (before !== undefined && stated.seq <= before.seq) throw new Found({ ...place, kind: stated.seq === before.seq ? 'repeated' : 'reordered', detail: `record ${before.seq} stands before it` });
    if (before !== undefined && stated.seq === before.seq + 1 && previous !== before.hash) throw new Found({ ...place, kind: 'edited', detail: 'it does not follow from the record before it' });
    const claim = known.claims.find(({ seq }) => seq === stated.seq);
    if (claim !== undefined && claim.hash !== stated.hash) throw new Found({ ...place, kind: 'rewritten', detail: 'the checkpoint has another record here' });
    const inTree = proof !== undefined && known.tree !== undefined && isInTree(stated.hash, stated.seq, known.tree.leaves, proof, known.tree.root);
    if (proof !== undefined && !inTree) throw new Found({ ...place, kind: 'rewritten', detail: 'it does not stand in the tree that was signed for its segment' });
    if (inTree) proven += 1;
    else if (claim !== undefined) sealed += 1;
    // Only of what is still open nothing better can be shown: left out, the proof would let anything pass.
    else if (known.tree !== undefined) throw new Found({ ...place, kind: 'added', detail: 'its segment is closed, and it comes without the proof that it stands there' });
    if (stated.seq > known.covered) counts.unanchored += 1;
    last.set(segment, stated);
    counts.records += 1;
  });
  counts.segments = last.size;
  counts.proven = proven + sealed;
  const rest = counts.records - proven - sealed;
  notes.push(`a filtered export: ${proven} of ${counts.records} records stand where they say in closed segments, by the signed trees of those${sealed === 0 ? '' : `, ${sealed} by a signed checkpoint`}${
    rest === 0 ? '' : `; ${rest} are from segments that were still open, and only hold against their own hashes`}; that none is left out, only the segments can show (verify the directory or an export without filter)`);
}
