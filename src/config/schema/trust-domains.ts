import { z } from 'zod';
import { trustDomain } from '../values.ts';
import { mapping, trustFiles } from './shapes.ts';

export const trustDomains = z.record(
  trustDomain,
  mapping({ trust: trustFiles.describe('CA certificates that vouch for it: PEM files, directories of such files, or SPIFFE bundles; clients must be trusted by their listener as well.') }),
  { error: 'expected a mapping of trust domains to { trust: [FILE] }' },
).describe('SPIFFE trust domains: which CA may vouch for the ids of which. The nearest of these CAs above a certificate counts.');
