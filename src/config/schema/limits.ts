import { watermark } from '../values.ts';
import { rates } from './rates.ts';
import { count, mapping } from './shapes.ts';

/** Of the gateway as a whole. */
export const limits = mapping({
  connections: count('Open connections of all listeners at a time; never more than half of the file descriptors that the process may have, since each may need one to an upstream.').default(100_000),
  rates: rates.describe('How often anything may be asked, all routes together.').default([]),
  memory: mapping({
    shed_above: watermark.describe('Memory of the process above which new connections are closed as they come, and open ones go on: a share of what there is (of the container, or the machine), or a size.').prefault('90%'),
  }).describe('What happens before memory runs out.').prefault({}),
}).describe('Limits of the gateway as a whole.').prefault({});
