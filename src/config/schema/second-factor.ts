import { z } from 'zod';
import { filePath, hostName, httpsUrl, keyOrigin, timeout } from '../values.ts';
import { ownPair } from './own-pair.ts';
import { mapping, oneOf, some, trustFiles } from './shapes.ts';

// Without \p: editors that read the JSON Schema compile patterns in either way.
// eslint-disable-next-line no-control-regex
const issuer = z.string({ error: 'expected a name such as Hospital' }).regex(/^[^\u0000-\u001f\u007f-\u009f:]{1,60}$/u, { error: 'expected a name without ":", 60 characters at most' });
const template = z.string({ error: 'expected a text with {code} in it' }).max(300, { error: 'expected at most 300 characters' })
  .refine((text) => text.includes('{code}'), { error: 'expected a text with {code} in it' });

const session = mapping({
  lifetime: timeout.describe('How long a session lasts after a factor was shown.').prefault('1h'),
  idle: timeout.describe('How long it lasts without a request.').prefault('15m'),
});

const totp = mapping({
  issuer: issuer.describe('What authenticator apps call the account.').default('Wardgate'),
  algorithm: oneOf(['sha1', 'sha256']).describe('Hash of new enrolments; many authenticator apps know sha1 alone.').default('sha1'),
});

const sms = mapping({
  url: httpsUrl.describe('Webhook that takes { to, text, language } as JSON in a POST and sends the message.'),
  trust: trustFiles.describe('PEM files of the CA certificates the webhook is verified by; the system\'s own are never used.'),
  ...ownPair('the gateway\'s own client certificate'),
  secret_file: filePath.describe('File of at least 32 secret bytes; calls are signed with them (HMAC-SHA-256, as Standard Webhooks has it). Others must not be able to read it.'),
  template: template.describe('Text of the message; {code} stands for the code.').default('您的验证码是 {code}，五分钟内有效。 Your code is {code}, good for five minutes.'),
  timeout: timeout.describe('How long an answer is waited for; nothing is tried twice.').prefault('5s'),
});

const webauthn = mapping({
  name: issuer.describe('What browsers call who asks for a key; absent: totp.issuer.').exactOptional(),
  rp_ids: some(hostName, 'expected a list of domains such as [hospital.test]')
    .describe('RP ids: domains that keys are made for, and under whose names they work; of several the longest that a host is or is below. Absent: the host that was asked for, and then a key works there alone.').exactOptional(),
  origins: some(keyOrigin, 'expected a list of origins such as [https://api.hospital.test]')
    .describe('Origins of the pages, and of apps, where keys are used, where they are others than https:// and the host at port 443 or the listener\'s: a port in front of a balancer, an Android app (android:apk-key-hash:…).').exactOptional(),
  user_verification: oneOf(['required', 'preferred', 'discouraged'])
    .describe('Whether the key must verify who uses it (PIN, fingerprint, face). Certificate and key are both things that somebody has: without this they are stolen together.').default('required'),
  timeout: timeout.describe('How long a challenge is good.').prefault('5m'),
});

export const secondFactor = mapping({
  key_file: filePath.describe('File of at least 32 secret bytes under which enrolments and sessions are sealed, the same on every replica. Others must not be able to read it. Absent: one is made in the state directory, beside what it seals.').exactOptional(),
  previous_key_files: z.array(filePath, { error: 'expected a list of files' }).describe('Keys that were in use before; what is sealed under them is sealed anew at the start.').default([]),
  session: session.describe('Sessions of clients that have shown a factor.').prefault({}),
  totp: totp.describe('Authenticator apps (RFC 6238).').prefault({}),
  sms: sms.describe('Codes by text message; absent: none.').exactOptional(),
  webauthn: webauthn.describe('Security keys and passkeys (WebAuthn).').prefault({}),
}).describe('Second factors beside the certificate, for routes that require one.').prefault({});
