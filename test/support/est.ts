import { startCaServer, type CaServer } from '../../src/ca-server.ts';
import { SILENT } from '../../src/log.ts';
import type { TestCa } from './ca.ts';
import { startGateway, type TestGateway } from './gateway.ts';
import type { TestPki } from './pki.ts';

export interface TestEst {
  readonly server: CaServer;
  readonly gateway: TestGateway;
  /** The CA's directory, too. */
  stop(): Promise<void>;
}

/** EST of a CA, behind a gateway that knows its devices from certificates of this CA or of the test's PKI. `gateways`: who is believed. */
export async function startEst(pki: TestPki, ca: TestCa, { routes, gateways, trust, now }: { readonly routes: string; readonly gateways: readonly string[]; readonly trust: string; readonly now?: () => number }): Promise<TestEst> {
  const own = ca.first.get('localhost');
  if (own === undefined) throw new Error('the CA has no certificate for localhost');
  const here = { host: '127.0.0.1', port: 0 };
  const server = await startCaServer({
    office: ca.office, publish: here, log: SILENT, ...(now === undefined ? {} : { now }),
    est: { address: here, certificate: own.entry.chain, key: own.key, trust, gateways },
  });
  const gateway = await startGateway(pki, 0, {
    threads: 1, routes,
    clientAuth: '{ mode: optional, trust: [ca-root.pem, root.pem], intermediates: [ca-issuing.pem, issuing.pem] }',
    revocation: `{ check: leaf, sources: [crl], crl: { files: [issuing.crl, root.crl], urls: ["http://127.0.0.1:${server.publish.port}/issuing.crl"], refresh: 1s } }`,
    upstreams: `
  ca:
    endpoints: ["https://127.0.0.1:${server.est?.port}"]
    tls: { trust: ca-root.pem, certificate: gateway.pem, key: gateway.key, server_name: localhost }`,
    files: { 'ca-root.pem': ca.office.root, 'ca-issuing.pem': ca.office.issuer().certificate },
  });
  return {
    server, gateway,
    async stop() {
      await gateway.stop();
      await server.stop();
      ca.remove();
    },
  };
}
