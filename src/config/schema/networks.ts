import { network } from '../values.ts';
import { mapping, some } from './shapes.ts';

export const networks = mapping({
  inside: some(network, 'expected a list of networks such as 10.0.0.0/8').describe('The networks of the house: who comes from elsewhere is outside, for wardgate suspend --outside and routes[].suspended.').exactOptional(),
}).describe('What the gateway knows of networks.').prefault({});
