import { directoryPath } from '../values.ts';
import { mapping } from './shapes.ts';

export const audit = mapping({
  directory: directoryPath.describe('Directory of the audit files; absent: audit in the state directory.').exactOptional(),
}).describe('The record of every decision.').prefault({});
