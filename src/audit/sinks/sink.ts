import type { Consumer } from '../feed.ts';
import { openFhirSink } from './fhir.ts';
import { openFileSink } from './file.ts';
import type { SinkGround } from './ground.ts';
import type { SinkSetup } from './setup.ts';
import { openSyslogSink } from './syslog.ts';

/** Makes the consumer that a sink is. */
export function createSink(setup: SinkSetup, ground: SinkGround): Consumer {
  switch (setup.kind) {
    case 'file': return openFileSink(setup, ground);
    case 'syslog': return openSyslogSink(setup, ground);
    case 'fhir': return openFhirSink(setup, ground);
  }
}
