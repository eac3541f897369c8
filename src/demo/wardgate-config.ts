import { stringify } from 'yaml';

export interface DemoConfigOptions {
  /** Absolute directory of the PKI. */
  readonly certificates: string;
  /** File names in it, without extension. */
  readonly servers: readonly string[];
  readonly organization: string;
  /** Common name of the authority that issues client certificates. */
  readonly issuer: string;
  /** Name that the API's certificate carries. */
  readonly backendName: string;
  /** Absolute paths of the CRL files. */
  readonly crls: readonly string[];
  readonly ports: { readonly gateway: number; readonly console: number; readonly metrics: number; readonly backend: number; readonly responder: number };
}

/** The demo's configuration, as somebody would write it by hand. Paths of state and audit are relative to its file. */
export function demoConfig(options: DemoConfigOptions): string {
  const { certificates, ports } = options;
  const pem = (name: string) => `${certificates}/${name}.pem`;
  const key = (name: string) => `${certificates}/${name}.key`;
  const staff = (unit: string) => ({ subject: { OU: unit, O: options.organization }, issuer: { CN: options.issuer } });
  return stringify({
    state: './state',
    listeners: [{
      name: 'clinical',
      address: `127.0.0.1:${ports.gateway}`,
      tls: { certificates: options.servers.map((name) => ({ certificate: pem(name), key: key(name) })) },
      // Routes decide who needs a certificate: one of them is public.
      client_auth: { mode: 'optional', trust: [pem('root')], intermediates: [pem('issuing')] },
    }, {
      name: 'operators',
      address: `127.0.0.1:${ports.console}`,
      tls: { certificates: options.servers.map((name) => ({ certificate: pem(name), key: key(name) })) },
      client_auth: { mode: 'required', trust: [pem('root')], intermediates: [pem('issuing')] },
    }],
    revocation: {
      check: 'chain', sources: ['crl', 'ocsp'], unavailable: 'deny',
      crl: { files: options.crls },
      ocsp: { responder: `http://127.0.0.1:${ports.responder}` },
    },
    roles: [
      { role: 'doctor', match: staff('Doctors'), id: '{subject.CN}' },
      { role: 'patient', match: { san: { uri: 'urn:patient:*' }, issuer: { CN: options.issuer } }, id: '{san.uri}' },
      { role: 'device', match: staff('Devices'), id: '{san.dns}' },
    ],
    routes: [
      { name: 'records', match: { path: '/records', methods: ['GET'] }, allow: ['doctor'], upstream: 'records', phi: true },
      { name: 'upload', match: { path: '/upload', methods: ['POST'] }, allow: ['patient', 'device'], upstream: 'records', limits: { body: '16KiB' }, phi: true },
      { name: 'checkin', match: { path: '/checkin', methods: ['POST'] }, allow: ['device'], upstream: 'records', limits: { body: '16KiB' } },
      { name: 'landing', match: { path: '/public/*', methods: ['GET'] }, allow: ['public'], upstream: 'records' },
    ],
    upstreams: {
      records: {
        endpoints: [`https://127.0.0.1:${ports.backend}`],
        tls: { trust: pem('backend-ca'), certificate: pem('gateway'), key: key('gateway'), server_name: options.backendName },
      },
    },
    audit: { directory: './state/audit' },
    admin: { socket: './state/admin.sock', listener: 'operators', roles: [{ role: 'operator', match: staff('Operators') }] },
    metrics: { address: `127.0.0.1:${ports.metrics}` },
  });
}
