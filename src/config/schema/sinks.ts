import { z } from 'zod';
import { filePath, hostAndPort, hostName, httpsUrl, name, timeout } from '../values.ts';
import { ownPair } from './own-pair.ts';
import { mapping, oneOf, trustFiles, whole } from './shapes.ts';

const receiverTls = mapping({
  trust: trustFiles.describe('PEM files of the CA certificates the receiver is verified by; the system\'s own are never used.'),
  ...ownPair('the gateway\'s own client certificate'),
  server_name: hostName.describe('Name the receiver\'s certificate must carry; absent: its host.').exactOptional(),
});

const receiver = hostAndPort.describe('Where syslog over TLS (RFC 5425) is received, HOST[:PORT]; the port is 6514 unless it says otherwise.');
const tls = receiverTls.describe('TLS towards the receiver: always on, always verified.');
const wait = timeout.describe('How long connecting, a write and an orderly close may take each.').prefault('10s');

const sinkName = name.describe('Name of the sink, as it appears in logs and metrics; how far it has come is kept under it.');
const form = oneOf(['json', 'cef', 'dicom']).describe('What a message is: the gateway\'s own JSON, CEF, or an audit message of DICOM PS3.15 A.5 as IHE ATNA sends it.').default('json');
const history = z.boolean().describe('Whether a new sink first gets everything that the audit directory holds; otherwise it begins with the start of the gateway, or with the reload that brings it.').default(false);

const syslogSink = mapping({
  name: sinkName,
  kind: z.literal('syslog').describe('Messages of RFC 5424 over TLS.'),
  receiver, tls, form,
  acknowledged: oneOf(['close', 'written'])
    .describe('When messages count as received, since syslog has no acknowledgement. close: once the receiver has closed the connection in order, after the gateway has: then it has read everything. written: once the connection has outlived them by a second; what was on its way when a receiver went down later is lost.')
    .default('close'),
  every: timeout.describe('How often a connection that has carried records is closed and opened again to have them acknowledged (acknowledged: close).').prefault('5s'),
  timeout: wait,
  history,
});

const fhirSink = mapping({
  name: sinkName,
  kind: z.literal('fhir').describe('AuditEvents of FHIR R4, posted to an audit repository.'),
  url: httpsUrl.describe('Base URL of the repository, as in https://arr.hospital.test/fhir.'),
  tls: receiverTls.describe('TLS towards the repository: always on, always verified.'),
  bundle: whole(1, 500).describe('AuditEvents in a batch Bundle at most; 1: each is posted by itself.').default(50),
  tries: whole(1, 1_000).describe('How often a record that the repository refuses is sent before it is put into the dead-letter file, so that it does not hold up the others.').default(5),
  repeats: oneOf(['tag', 'put'])
    .describe('How the repository can recognise what it is sent again. tag: each AuditEvent is created under the condition that none with its tag is there (If-None-Exist); put: each is put under an id of its own.').default('tag'),
  timeout: timeout.describe('How long one request may take as a whole.').prefault('30s'),
  history,
});

const fileSink = mapping({
  name: sinkName,
  kind: z.literal('file').describe('Lines in a file, flushed to the disk.'),
  file: filePath.describe('The file; lines are appended.'),
  form,
  history,
});

export const sink = z.discriminatedUnion('kind', [syslogSink, fhirSink, fileSink], {
  error: (issue) => (issue.code === 'invalid_union' ? 'expected syslog, fhir or file' : undefined),
});

export const syslogAnchor = mapping({ receiver, tls, timeout: wait });
