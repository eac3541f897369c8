import { bodyPath, type BodySize } from './bodies.ts';
import type { Load } from './load.ts';

interface Common {
  readonly name: string;
  readonly title: string;
  /** Which servers are compared: ours with the others, or ours with itself under growing configurations. */
  readonly servers: 'peers' | 'routes';
  /** What else the report has to say of it. */
  readonly note?: string;
}

/** So many requests or handshakes, as fast as they go. */
export interface LoadScenario extends Common, Pick<Load, 'tls' | 'serverKey' | 'resume' | 'connections' | 'path' | 'prelude' | 'http' | 'streams' | 'length'> {
  readonly kind: 'load';
  readonly mode: 'requests' | 'handshakes';
  readonly unit: 'request' | 'handshake';
  /** The large body that is asked for; absent: the answer of 1 KiB. */
  readonly body?: BodySize;
  /** How many of the unit in one measurement. */
  readonly full: number;
  readonly quick: number;
}

/** So many connections that stay, measured once, in the first round, on servers started for it. */
export interface IdleScenario extends Common {
  readonly kind: 'idle';
  /** How many connections. */
  readonly full: number;
  readonly quick: number;
}

export type Scenario = LoadScenario | IdleScenario;

const load = { kind: 'load', servers: 'peers', tls: '1.3', serverKey: 'ec', resume: false, path: '/records', http: '1.1', streams: 1 } as const;
const requests = { ...load, unit: 'request', mode: 'requests', prelude: 2, connections: 64 } as const;
const handshakes = { ...load, unit: 'handshake', mode: 'handshakes', prelude: 0, connections: 16, full: 500, quick: 150 } as const;

const handshake = (serverKey: 'ec' | 'rsa', tls: '1.2' | '1.3', resume: boolean): LoadScenario => ({
  ...handshakes, tls, serverKey, resume,
  name: `${resume ? 'resumed' : 'handshake'}-${serverKey}-${tls}`,
  title: resume ? `Resumed handshakes, TLS ${tls}` : `Full handshakes, ${serverKey === 'ec' ? 'ECDSA P-256' : 'RSA 2048'}, TLS ${tls}`,
});

const body = (size: BodySize, connections: number, full: number, quick: number): LoadScenario => ({
  ...requests, name: `body-${size}`, title: `Answers of ${size === '1m' ? '1 MiB' : '64 MiB'} on kept-alive connections, TLS 1.3`,
  body: size, path: bodyPath(size), prelude: 1, connections, full, quick,
});

/** What is compared. Handshakes carry no request: connect, handshake with a client certificate, close. */
export const SCENARIOS: readonly Scenario[] = [
  { ...requests, name: 'kept-alive', title: 'Requests on kept-alive connections, answers of 1 KiB, TLS 1.3', full: 20_000, quick: 4_000 },
  handshake('ec', '1.3', false), handshake('rsa', '1.3', false), handshake('ec', '1.2', false), handshake('rsa', '1.2', false),
  handshake('ec', '1.3', true), handshake('ec', '1.2', true),
  body('1m', 16, 300, 80), body('64m', 4, 8, 4),
  { ...requests, name: 'http2', title: 'HTTP/2, 100 streams at a time, answers of 1 KiB, TLS 1.3', http: '2', connections: 1, streams: 100, length: 1024, full: 20_000, quick: 4_000,
    note: 'To the backend HAProxy speaks HTTP/2, the others HTTP/1.1: what costs each least, of what it can.' },
  { kind: 'idle', servers: 'peers', name: 'idle', title: 'Idle connections, TLS 1.3, after a full handshake and one request each', full: 10_000, quick: 1_000 },
  { ...requests, servers: 'routes', name: 'routes-kept-alive', title: 'The gateway alone, by routes and roles: requests on kept-alive connections', full: 6_000, quick: 2_000 },
  { ...handshakes, servers: 'routes', name: 'routes-handshake', title: 'The gateway alone, by routes and roles: full handshakes, ECDSA P-256, TLS 1.3', full: 400, quick: 100 },
];

/** The scenario of that name, if it is a load. Throws where it is not. */
export function loadScenario(name: string): LoadScenario {
  const found = SCENARIOS.find((one) => one.name === name);
  if (found?.kind !== 'load') throw new Error(`there is no load named ${name}; known: ${SCENARIOS.filter((one) => one.kind === 'load').map((one) => one.name).join(', ')}`);
  return found;
}
