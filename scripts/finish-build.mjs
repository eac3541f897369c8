// The bin must be runnable as it lies in the package: tsc does not set modes.
import { chmodSync } from 'node:fs';

chmodSync(new URL('../dist/main.js', import.meta.url), 0o755);
