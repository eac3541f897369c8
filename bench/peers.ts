import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../src/demo/listen.ts';
import type { BenchPki } from './pki.ts';
import { findProgram, start, untilListening, type Running } from './process.ts';
import { wardgate } from './wardgate.ts';

/** Where a server runs, and what it stands in front of. */
export interface Place {
  readonly pki: BenchPki;
  /** A directory of its own. */
  readonly directory: string;
  readonly backendPort: number;
  /** Where the backend speaks HTTP/2 as well; absent: nowhere. */
  readonly backendHttp2Port?: number;
  readonly core: number | undefined;
  /** Client connections at a time that it must be able to hold; absent: as many as the loads have. */
  readonly connections?: number;
}

export interface Peer {
  readonly name: string;
  /** What it says of its version; undefined when it is not installed. */
  version(): string | undefined;
  start(place: Place): Promise<RunningPeer>;
}

export interface RunningPeer {
  readonly port: number;
  readonly process: Running;
  /** Path to ask for; absent: the scenario's. */
  readonly path?: string;
}

export interface RunningBackend extends RunningPeer {
  /** Where it speaks HTTP/2 as well, to whoever asks for it. */
  readonly http2Port: number;
}

/** Connections to the backend that a server may keep: as many as there are clients, and some. */
const POOLED = 256;
const SUITES_12 = 'ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384';

const nginx: Peer = {
  name: 'nginx',
  version: () => versionOf('nginx', ['-v']),
  async start({ pki, directory, backendPort, core, connections }) {
    const port = await freePort(0);
    const { path } = pki;
    // Client certificates verified with CRLs, the subject passed on, upstream verified; no access log.
    const running = await startNginx({ directory, core, connections }, `
  upstream records { server 127.0.0.1:${backendPort}; keepalive ${POOLED}; keepalive_requests 100000000; keepalive_timeout 300s; }
  server {
    listen 127.0.0.1:${port} ssl http2 backlog=4096;
    server_name localhost;
    ssl_certificate ${path('server-ec.pem')}; ssl_certificate_key ${path('server-ec.key')};
    ssl_certificate ${path('server-rsa.pem')}; ssl_certificate_key ${path('server-rsa.key')};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ${SUITES_12}; ssl_prefer_server_ciphers on; ssl_session_timeout 1h;
    ssl_client_certificate ${path('clients-ca.pem')}; ssl_verify_client on; ssl_verify_depth 3; ssl_crl ${path('crls.pem')};
    location / {
      proxy_pass https://records;
      proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https; proxy_set_header X-Client-Subject $ssl_client_s_dn;
      proxy_ssl_certificate ${path('gateway.pem')}; proxy_ssl_certificate_key ${path('gateway.key')};
      proxy_ssl_trusted_certificate ${path('backend-ca.pem')}; proxy_ssl_verify on; proxy_ssl_name records.internal; proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;
      # Least CPU of what was tried for large answers; by default it writes what a client is slow to take to a file.
      location /bodies/ { proxy_pass https://records; proxy_max_temp_file_size 0; proxy_buffers 8 32k; proxy_buffer_size 16k; proxy_busy_buffers_size 64k; }
    }
  }`);
    await untilListening(port, running);
    return { port, process: running };
  },
};

const haproxy: Peer = {
  name: 'haproxy',
  version: () => versionOf('haproxy', ['-v']),
  async start({ pki, directory, backendPort, backendHttp2Port = backendPort, core, connections }) {
    const port = await freePort(0);
    const { path } = pki;
    const file = join(directory, 'haproxy.cfg');
    await writeFile(file, `
global
  nbthread 1
  maxconn ${8192 + (connections ?? 0)}
  no strict-limits # it wants two files a connection, and idle ones use one
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphers ${SUITES_12}
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 300s
  option http-keep-alive
  http-reuse always
frontend clinical
  bind 127.0.0.1:${port} ssl crt ${path('server.pem')} ca-file ${path('clients-ca.pem')} verify required crl-file ${path('crls.pem')} alpn h2,http/1.1 backlog 4096
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Client-Subject %[ssl_c_s_dn]
  use_backend streams if { ssl_fc_alpn h2 } # half the CPU of HTTP/1.1 to the backend; Caddy takes more with it, nginx cannot
  default_backend records
backend records
  server records 127.0.0.1:${backendPort} ssl verify required ca-file ${path('backend-ca.pem')} crt ${path('gateway.bundle')} sni str(records.internal) verifyhost records.internal pool-max-conn ${POOLED}
backend streams
  server streams 127.0.0.1:${backendHttp2Port} ssl verify required ca-file ${path('backend-ca.pem')} crt ${path('gateway.bundle')} sni str(records.internal) verifyhost records.internal pool-max-conn ${POOLED} alpn h2
`);
    const running = start(findProgram('haproxy') as string, ['-db', '-f', file], { core });
    await untilListening(port, running);
    return { port, process: running };
  },
};

const caddy: Peer = {
  name: 'caddy',
  version: () => versionOf('caddy', ['version']),
  async start({ pki, directory, backendPort, core }) {
    const port = await freePort(0);
    const { path } = pki;
    const file = join(directory, 'caddy.json');
    const certificates = ['server-ec', 'server-rsa'].map((name) => ({ certificate: path(`${name}.pem`), key: path(`${name}.key`) }));
    // Caddy knows no CRLs.
    await writeFile(file, JSON.stringify({
      admin: { disabled: true, config: { persist: false } },
      logging: { logs: { default: { level: 'WARN' } } },
      apps: {
        tls: { certificates: { load_files: certificates } },
        http: {
          servers: {
            clinical: {
              listen: [`127.0.0.1:${port}`],
              protocols: ['h1', 'h2'],
              automatic_https: { disable: true },
              tls_connection_policies: [{ client_authentication: { trusted_ca_certs_pem_files: [path('root.pem'), path('issuing.pem')], mode: 'require_and_verify' } }],
              routes: [{
                handle: [{
                  handler: 'reverse_proxy',
                  upstreams: [{ dial: `127.0.0.1:${backendPort}` }],
                  headers: { request: { set: { 'X-Client-Subject': ['{http.request.tls.client.subject}'] } } },
                  transport: {
                    protocol: 'http',
                    tls: { root_ca_pem_files: [path('backend-ca.pem')], client_certificate_file: path('gateway.pem'), client_certificate_key_file: path('gateway.key'), server_name: 'records.internal' },
                    keep_alive: { max_idle_conns: POOLED, max_idle_conns_per_host: POOLED },
                  },
                }],
              }],
            },
          },
        },
      },
    }));
    const running = start(findProgram('caddy') as string, ['run', '--config', file], { core, env: { GOMAXPROCS: '1', XDG_DATA_HOME: directory, XDG_CONFIG_HOME: directory } });
    await untilListening(port, running);
    return { port, process: running };
  },
};

/** In the order of the report; the first is ours. */
export const PEERS: readonly Peer[] = [wardgate, nginx, haproxy, caddy];

/**
 * The backend for all: nginx again, which answers 1 KiB over TLS to whoever shows the gateway's certificate, and below `/bodies/`
 * the files of that directory, if there is one.
 */
export async function startBackend({ pki, directory, bodies, core }: Omit<Place, 'backendPort'> & { readonly bodies?: string }): Promise<RunningBackend> {
  const port = await freePort(0);
  const http2Port = await freePort(0);
  const { path } = pki;
  const running = await startNginx({ directory, core }, `
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    listen 127.0.0.1:${http2Port} ssl http2 backlog=4096;
    ssl_certificate ${path('backend.pem')}; ssl_certificate_key ${path('backend.key')}; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_client_certificate ${path('backend-ca.pem')}; ssl_verify_client on;
    location / { default_type application/json; return 200 '${'x'.repeat(1024)}'; }
    ${bodies === undefined ? '' : `location /bodies/ { alias ${bodies}/; output_buffers 2 256k; }`}
  }`);
  await untilListening(port, running);
  return { port, http2Port, process: running };
}

async function startNginx({ directory, core, connections }: { directory: string; core: number | undefined; connections?: number | undefined }, http: string): Promise<Running> {
  const file = join(directory, 'nginx.conf');
  await mkdir(join(directory, 'tmp'), { recursive: true });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${join(directory, 'tmp', name)};`).join(' ');
  await writeFile(file, `
daemon off;
${process.getuid?.() === 0 ? 'user root; # or a worker could not read what is in our directories' : ''}
worker_processes 1;
pid ${join(directory, 'nginx.pid')};
error_log stderr warn;
events { worker_connections ${8192 + (connections ?? 0)}; }
http {
  access_log off;
  ${temporary}
  keepalive_requests 100000000;
  keepalive_timeout 300s;
${http}
}
`);
  return start(findProgram('nginx') as string, ['-c', file, '-p', directory], { core });
}

function versionOf(name: string, args: readonly string[]): string | undefined {
  const program = findProgram(name);
  if (program === undefined) return undefined;
  // nginx says it on stderr.
  return execFileSync('/bin/sh', ['-c', '"$0" "$@" 2>&1', program, ...args], { encoding: 'utf8' }).split('\n', 1)[0]?.replace(/ - .*| h1:.*/, '').trim();
}
