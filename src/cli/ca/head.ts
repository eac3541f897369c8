import { existsSync } from 'node:fs';
import { caHeadIn, type CaHead } from '../../audit/ca-head.ts';
import type { Office } from '../../ca/office.ts';
import { auditPlaces } from '../archive.ts';
import { caMark, gatewayOf, type CaOptions } from './place.ts';

export interface Compared {
  /** The last event of this CA that the gateway has on record; absent where there is no gateway, or it has none. */
  readonly head?: CaHead;
  readonly fault?: string;
}

/**
 * Holds the event log against what the gateway has on record of it, which whoever puts an older copy of the directory in its place does not reach. What the audit has is read
 * from the files, `segments` of the newest. Throws what a configuration or the disk says.
 */
export function compareHead(options: Pick<CaOptions, 'config'>, office: Office, segments?: number): Compared {
  const config = gatewayOf(options);
  const directory = config === undefined ? undefined : auditPlaces(config).directory;
  if (directory === undefined || !existsSync(directory)) return {};
  const head = caHeadIn(directory, caMark(office), segments);
  if (head === undefined) return {};
  const event = office.events().find(({ seq }) => seq === head.seq);
  if (event?.hash.startsWith(head.hash) === true) return { head };
  const said = event === undefined ? `the log ends at event ${office.revision()}` : `event ${head.seq} of the log is another one (${event.hash.slice(0, 16)})`;
  return { head, fault: `the gateway has event ${head.seq} of this CA on record (${head.hash}, ${head.time}), and ${said}: an older copy is in the place of the CA, or its last events were cut off` };
}
