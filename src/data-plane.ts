import { parentPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import { startDataPlane } from './data-plane-thread.ts';
import type { ThreadBirth } from './thread-protocol.ts';

// The entry of a data-plane thread, and nothing else: what it starts is wired in startDataPlane.
startDataPlane(workerData as ThreadBirth, parentPort as MessagePort);
