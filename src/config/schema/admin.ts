import { filePath } from '../values.ts';
import { mapping } from './shapes.ts';

export const admin = mapping({
  socket: filePath.describe('Unix socket of the admin interface; absent: admin.sock in the state directory.').exactOptional(),
}).describe('The interface that wardgate\'s own commands use.').prefault({});
