import { z } from 'zod';
import { filePath, hostAndPort, hostName, httpsUrl, name, timeout } from '../values.ts';
import { ownPair } from './own-pair.ts';
import { mapping, oneOf, some, trustFiles } from './shapes.ts';

const chosen = {
  name: name.describe('What status, logs and metrics call it.'),
  rules: some(name, 'expected a list of rules').describe('Only alarms of these rules, and with expiry warnings of what ends (docs/expiry.md); absent: all.').exactOptional(),
  after: timeout.describe('Only alarms that nobody has acknowledged for so long; absent: all, at once.').exactOptional(),
  timeout: timeout.describe('How long a step of a delivery may take.').prefault('15s'),
  tls: mapping({
    trust: trustFiles.describe('PEM files of the CA certificates it is verified by; the system\'s own are never used.'),
    ...ownPair('the gateway\'s own client certificate'),
    server_name: hostName.describe('Name that its certificate must carry; absent: its host.').exactOptional(),
  }).describe('TLS towards it: always on, always verified.'),
};
const MAILBOX_EXPECTED = 'expected an address such as security@hospital.test';
const mailbox = z.string({ error: MAILBOX_EXPECTED }).regex(/^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}$/, { error: MAILBOX_EXPECTED });

const mail = mapping({
  kind: z.literal('mail').describe('Mail by way of a server.'),
  ...chosen,
  server: hostAndPort.describe('The mail server, HOST[:PORT]; the port is 587, or 465 with encryption: implicit, unless it says otherwise.'),
  encryption: oneOf(['starttls', 'implicit']).describe('implicit: TLS from the first octet. starttls: the server must offer it, or nothing is sent.').default('starttls'),
  from: mailbox.describe('Sender.'),
  to: some(mailbox, 'expected a list of addresses').describe('Recipients.'),
  user: z.string({ error: 'expected a name' }).min(1, { error: 'expected a name' }).describe('Who logs in; absent: nobody.').exactOptional(),
  password_file: filePath.describe('File that holds the password; others must not be able to read it.').exactOptional(),
});

const webhook = mapping({
  kind: z.literal('webhook').describe('A POST of JSON.'),
  ...chosen,
  url: httpsUrl.describe('Where alarms are POSTed.'),
  secret_file: filePath.describe('File of at least 32 secret bytes; each POST is signed with them as incoming webhooks are (docs/webhooks.md). Others must not be able to read it.'),
});

const syslog = mapping({
  kind: z.literal('syslog').describe('Messages of RFC 5424 over TLS (RFC 5425).'),
  ...chosen,
  receiver: hostAndPort.describe('HOST[:PORT]; the port is 6514 unless it says otherwise.'),
});

/** Somebody who is told of alarms. */
export const alarmChannel = z.discriminatedUnion('kind', [mail, webhook, syslog], {
  error: (issue) => (issue.code === 'invalid_union' ? 'expected mail, webhook or syslog' : undefined),
});
