import { parentPort, workerData } from 'node:worker_threads';
import type { MessagePort } from 'node:worker_threads';
import type { EvidenceBirth } from './evidence-protocol.ts';
import { startEvidence } from './evidence-thread.ts';

// The entry of the thread that hands records out, and nothing else: what it starts is wired in startEvidence.
startEvidence(workerData as EvidenceBirth, parentPort as MessagePort);
