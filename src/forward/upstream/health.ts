import { request } from 'node:https';
import type { ConnectionOptions } from 'node:tls';
import type { HealthConfig } from '../../config/schema.ts';
import { dial } from './dial.ts';

/** What a look at an address found. */
export type Look = { readonly kind: 'well' } | { readonly kind: 'ill'; readonly detail: string };

/** Octets of an answer's body that are read; the status has been seen, so the rest does not matter. */
const MOST_OCTETS = 65_536;

/**
 * Looks whether an address works, on a connection of its own whose certificate is verified anew: by a request where `health`
 * names a path, else by the connection alone. `host` is the Host field where the configuration names none, `preface` goes
 * in front of TLS.
 */
export function lookAt(connection: ConnectionOptions, health: HealthConfig, host: string, preface?: Buffer): Promise<Look> {
  return new Promise((resolve) => {
    const socket = dial(connection, preface);
    const done = (look: Look): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(look);
    };
    const ill = (detail: string): void => done({ kind: 'ill', detail });
    const timer = setTimeout(() => ill(`no answer within ${health.timeout} ms`), health.timeout);
    socket.on('error', (error: NodeJS.ErrnoException) => ill(`${error.code ?? error.name}: ${error.message}`));
    socket.on('close', () => ill('the connection was closed'));
    const { path } = health;
    socket.once('secureConnect', () => {
      if (path === undefined) return done({ kind: 'well' });
      const asked = request({ method: 'GET', path, headers: { host: health.host ?? host, 'user-agent': 'wardgate-health', accept: '*/*', connection: 'close' }, createConnection: () => socket });
      asked.on('error', (error: NodeJS.ErrnoException) => ill(`${error.code ?? error.name}: ${error.message}`));
      asked.on('upgrade', () => ill('the endpoint switched protocols uninvited'));
      asked.on('response', (answer) => {
        const status = answer.statusCode ?? 0;
        if (!health.status.some(({ first, last }) => status >= first && status <= last)) return ill(`status ${status}`);
        let octets = 0;
        answer.on('data', (chunk: Buffer) => {
          octets += chunk.length;
          if (octets > MOST_OCTETS) done({ kind: 'well' });
        });
        answer.on('error', (error: NodeJS.ErrnoException) => ill(`${error.code ?? error.name}: ${error.message}`));
        answer.on('end', () => (answer.complete ? done({ kind: 'well' }) : ill('the answer was cut')));
      });
      asked.end();
    });
  });
}
