import { filePath, name, redisUrl } from '../values.ts';
import { mapping, trustFiles } from './shapes.ts';

export const store = mapping({
  redis: redisUrl.describe('Redis or Valkey server through which replicas share the deny list, suspensions, grants, what systems told, counts, second factors and sessions: rediss://HOST:PORT/DB, or redis:// on a trusted network.'),
  password_file: filePath.describe('File that holds its password; others must not be able to read it.').exactOptional(),
  key_file: filePath.describe('File of at least 32 random bytes, the same on every gateway, by which they know each other\'s changes: what else is in the store denies, reinstates, suspends and grants nothing. Absent: whoever can write to the store is believed.').exactOptional(),
  trust: trustFiles.describe('PEM files of the CA certificates the server is verified by.').exactOptional(),
  prefix: name.describe('What the keys of this gateway begin with.').default('wardgate'),
}).describe('What several gateways share; absent: this gateway stands alone.');
