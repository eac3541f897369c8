import { Transform } from 'node:stream';
import type { Announced } from '../../policy/senders.ts';
import type { Finding, Scanner } from './scanner.ts';

/** What opens a gate, and what shuts it for good. */
export interface GateKeeper {
  /** Whether a sender may pass; until it is known, and when not, nothing does. Must not reject. */
  admit(announced: Announced): Promise<boolean>;
  /** What comes now cannot be read. */
  malformed(detail: string): void;
}

/** What a client sends on its way to the upstream, under back-pressure. A gate that is shut stays so until it is destroyed. */
export function createGate(scanner: Scanner, keeper: GateKeeper): Transform {
  const gate = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      advance(scanner.scan(chunk), done);
    },
  });

  function advance(findings: Generator<Finding, void, void>, done: () => void): void {
    for (let next = findings.next(); next.done !== true; next = findings.next()) {
      const finding = next.value;
      if (finding.kind === 'malformed') return keeper.malformed(finding.detail);
      if (finding.kind === 'sender') {
        void keeper.admit(finding.announced).then((admitted) => {
          if (admitted && !gate.destroyed) advance(findings, done);
        });
        return undefined;
      }
      gate.push(finding.octets);
    }
    return done();
  }

  return gate;
}
