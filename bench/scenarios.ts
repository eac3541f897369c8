import { bodyPath, type BodySize } from './bodies.ts';
import type { Load } from './load.ts';

export interface Scenario extends Pick<Load, 'mode' | 'tls' | 'serverKey' | 'resume' | 'connections' | 'path' | 'prelude'> {
  readonly name: string;
  readonly title: string;
  readonly unit: 'request' | 'handshake';
  /** The large body that is asked for; absent: the answer of 1 KiB. */
  readonly body?: BodySize;
  /** How many of the unit in one measurement. */
  readonly full: number;
  readonly quick: number;
}

const handshake = (serverKey: 'ec' | 'rsa', tls: '1.2' | '1.3', resume: boolean): Scenario => ({
  name: `${resume ? 'resumed' : 'handshake'}-${serverKey}-${tls}`,
  title: resume ? `Resumed handshakes, TLS ${tls}` : `Full handshakes, ${serverKey === 'ec' ? 'ECDSA P-256' : 'RSA 2048'}, TLS ${tls}`,
  unit: 'handshake', mode: 'handshakes', tls, serverKey, resume, connections: 16, path: '/records', prelude: 0, full: 1_000, quick: 150,
});

const requests = { unit: 'request', mode: 'requests', tls: '1.3', serverKey: 'ec', resume: false, path: '/records', prelude: 2 } as const;

const body = (size: BodySize, connections: number, full: number, quick: number): Scenario => ({
  ...requests, name: `body-${size}`, title: `Answers of ${size === '1m' ? '1 MiB' : '64 MiB'} on kept-alive connections, TLS 1.3`,
  body: size, path: bodyPath(size), prelude: 1, connections, full, quick,
});

/** What is compared. Handshakes carry no request: connect, handshake with a client certificate, close. */
export const SCENARIOS: readonly Scenario[] = [
  { ...requests, name: 'kept-alive', title: 'Requests on kept-alive connections, answers of 1 KiB, TLS 1.3', connections: 64, full: 20_000, quick: 4_000 },
  handshake('ec', '1.3', false), handshake('rsa', '1.3', false), handshake('ec', '1.2', false), handshake('rsa', '1.2', false),
  handshake('ec', '1.3', true), handshake('ec', '1.2', true),
  body('1m', 16, 300, 80), body('64m', 4, 8, 4),
];
