import { METHODS } from 'node:http';

const KNOWN = new Set(METHODS);

/** Whether a method is one of HTTP that messages are read with, in any of its versions; any other is refused before it is judged. */
export function isKnownMethod(method: string): boolean {
  return KNOWN.has(method);
}
