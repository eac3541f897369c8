import { z } from 'zod';
import { collectorUrl, filePath, name } from '../values.ts';
import { ownPair } from './own-pair.ts';
import { mapping, oneOf, trustFiles } from './shapes.ts';

export const tracing = mapping({
  endpoint: collectorUrl.describe('OTLP/HTTP endpoint of an OpenTelemetry collector, whole, as in https://collector.hospital.test:4318/v1/traces; http:// on this host only.'),
  trust: trustFiles.describe('PEM files of the CA certificates the collector is verified by; needed for https://, the system\'s own are never used.').exactOptional(),
  ...ownPair('the gateway\'s own client certificate'),
  authorization_file: filePath.describe('File that holds the value of the Authorization header; others must not be able to read it.').exactOptional(),
  sample: z.number({ error: 'expected a number from 0 to 1' }).min(0, { error: 'expected a number from 0 to 1' }).max(1, { error: 'expected a number from 0 to 1' })
    .describe('Share of the traces that begin here and are told of; where the client has begun one, its own sampled flag decides.').default(1),
  service_name: name.describe('The resource attribute service.name.').default('wardgate'),
  include: z.array(oneOf(['client_subject', 'client_address', 'url_path']), { error: 'expected a list of client_subject, client_address and url_path' })
    .describe('Attributes that name persons or patients, and are left out unless they stand here: tls.client.subject, client.address, url.path.').default([]),
}).describe('Spans for an OpenTelemetry collector; absent: none, and trace contexts pass as they are.');
