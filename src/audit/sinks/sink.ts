import type { Consumer } from '../feed.ts';
import { openFileSink } from './file.ts';
import type { SinkSetup } from './setup.ts';

/** What sinks need of the thread that they run on. */
export interface SinkGround {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told of what somebody should look at. */
  readonly warn: (detail: string) => void;
}

/** Makes the consumer that a sink is. */
export function createSink(setup: SinkSetup, _ground: SinkGround): Consumer {
  switch (setup.kind) {
    case 'file': return openFileSink(setup);
    case 'syslog':
    case 'fhir': throw new Error(`${setup.kind} is not there yet`);
  }
}
