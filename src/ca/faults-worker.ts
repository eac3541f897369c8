import { parentPort, workerData } from 'node:worker_threads';
import { openOffice } from './office.ts';

// What faults-aside.ts starts, with the directory of a CA; it answers once.
const office = openOffice({ directory: workerData as string });
try {
  parentPort?.postMessage(office.faults());
} finally {
  office.close();
}
