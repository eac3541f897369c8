import { feedDirectory, hasPassed, readPositions } from './positions.ts';

/** Whether every consumer of the feed has all of a segment that is `octets` long; where nobody reads along, they all have. */
export function passedByAll(state: string, segment: string, octets: number): boolean {
  return readPositions(feedDirectory(state)).every((position) => hasPassed(position, segment, octets));
}
