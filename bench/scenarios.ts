import type { Load } from './load.ts';

export interface Scenario extends Pick<Load, 'mode' | 'tls' | 'serverKey' | 'resume' | 'connections'> {
  readonly name: string;
  readonly title: string;
  readonly unit: 'request' | 'handshake';
  /** How many of the unit in one measurement. */
  readonly full: number;
  readonly quick: number;
}

const handshake = (serverKey: 'ec' | 'rsa', tls: '1.2' | '1.3', resume: boolean): Scenario => ({
  name: `${resume ? 'resumed' : 'handshake'}-${serverKey}-${tls}`,
  title: resume ? `Resumed handshakes, TLS ${tls}` : `Full handshakes, ${serverKey === 'ec' ? 'ECDSA P-256' : 'RSA 2048'}, TLS ${tls}`,
  unit: 'handshake', mode: 'handshakes', tls, serverKey, resume, connections: 16, full: 1_000, quick: 150,
});

/** What is compared. Handshakes carry no request: connect, handshake with a client certificate, close. */
export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'kept-alive', title: 'Requests on kept-alive connections, answers of 1 KiB, TLS 1.3', unit: 'request',
    mode: 'requests', tls: '1.3', serverKey: 'ec', resume: false, connections: 64, full: 20_000, quick: 4_000,
  },
  handshake('ec', '1.3', false), handshake('rsa', '1.3', false), handshake('ec', '1.2', false), handshake('rsa', '1.2', false),
  handshake('ec', '1.3', true), handshake('ec', '1.2', true),
];
