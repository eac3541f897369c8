import { directoryPath, size } from '../values.ts';
import { mapping, oneOf } from './shapes.ts';

/** Answers that leave encrypted to the client's own key. */
export const encrypt = mapping({
  to: oneOf(['certificate', 'registered']).describe('certificate: the key in the client\'s certificate. registered: a key of its own in keys.'),
  keys: directoryPath.describe('Directory of registered public keys, ID.pem or ID.jwk, the client\'s id percent-encoded; a change is noticed within seconds.').exactOptional(),
  max: size.describe('Size of an answer; a larger one is refused, since all of it is held in memory until it is encrypted.').prefault('4MiB'),
}).refine(({ to, keys }) => (to === 'registered') === (keys !== undefined), { error: 'expected keys where to is registered, and only there' });
