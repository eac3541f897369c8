import { z } from 'zod';
import { name, network } from '../values.ts';
import { mapping, some } from './shapes.ts';

const NETWORKS = 'expected a list of networks such as 10.0.0.0/8';

export const networks = mapping({
  inside: some(network, NETWORKS).describe('The networks of the house: who comes from elsewhere is outside, for wardgate suspend --outside, routes[].suspended and alarms.').exactOptional(),
  sites: z.record(name, some(network, NETWORKS), { error: 'expected a mapping of names to networks such as { north: [10.1.0.0/16] }' })
    .describe('Networks by the place that they are at: a certificate that is used at two of them at once is alarmed of.').default({}),
}).describe('What the gateway knows of networks.').prefault({});
