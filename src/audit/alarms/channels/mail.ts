import { hash } from 'node:crypto';
import type { Transporter } from 'nodemailer';
import { within, type Channel, type MailSetup } from './channel.ts';
import { plainText, subjectLine } from './words.ts';

/** What comes within this time goes in one mail. */
const PACE_MS = 30_000;
const MOST = 100;

/**
 * Mail by way of one server, whose certificate must be verified by the configured CAs and carry its name; nothing is said to one that
 * offers no TLS. What is tried again has the same Message-ID, by which readers know it.
 */
export function openMail({ name, host, port, implicit, from, to, login, timeout, tls }: MailSetup, gateway: string): Channel {
  let transport: Promise<Transporter> | undefined;

  /** The package is loaded where mail is sent, and nowhere else. */
  const open = async (): Promise<Transporter> => (await import('nodemailer')).createTransport({
    host, port, secure: implicit, requireTLS: true, name: 'wardgate.invalid', disableFileAccess: true, disableUrlAccess: true,
    // Any silence ends it, but not before the lack of a greeting does, which says more.
    connectionTimeout: timeout, greetingTimeout: timeout, socketTimeout: 1.5 * timeout, dnsTimeout: timeout,
    tls: { ca: tls.trust, servername: tls.serverName, minVersion: 'TLSv1.2', rejectUnauthorized: true, ...(tls.certificate === undefined || tls.key === undefined ? {} : { cert: tls.certificate, key: tls.key }) },
    ...(login === undefined ? {} : { auth: { user: login.user, pass: login.password } }),
  });

  async function mail(subject: string, text: string, id: string): Promise<void> {
    const sent = (await (transport ??= open())).sendMail({
      from, to: [...to], subject, text, messageId: `<${hash('sha256', id, 'hex').slice(0, 32)}@${from.split('@').at(-1)}>`, headers: { 'Auto-Submitted': 'auto-generated' },
    }).catch((error: Error) => { throw withHint(error, implicit); });
    const { rejected = [] } = await within(2 * timeout, sent, 'the mail server');
    // Whoever is left may be the only one who reads it.
    if (rejected.length > 0) throw new Error(`the mail server refused ${rejected.length} of ${to.length} recipients`);
  }

  return {
    name, pace: PACE_MS, most: MOST,
    send: (told, id) => mail(subjectLine(told), plainText(told, gateway), id),
    announce: ({ subject, text }, id) => mail(subject, text, id),
    close: () => void transport?.then((opened) => opened.close(), () => undefined),
  };
}

/** A server that waits for TLS says nothing to who waits for its greeting, and one that greets speaks no TLS: neither message names the one setting that is wrong. */
function withHint(error: Error, implicit: boolean): Error {
  const other = implicit ? /wrong version number/.test(error.message) : error.message === 'Greeting never received';
  return other ? new Error(`${error.message}; is the port one for encryption: ${implicit ? 'starttls' : 'implicit'}?`, { cause: error }) : error;
}
