import { address } from '../values.ts';
import { mapping } from './shapes.ts';

export const metrics = mapping({
  address: address.describe('HOST:PORT of /metrics, /healthz and /readyz, plain HTTP.'),
}).describe('Metrics and health; absent: off.');
