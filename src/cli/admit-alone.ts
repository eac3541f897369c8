import { resolve } from 'node:path';
import type { TlsListenerConfig } from '../config/schema.ts';
import type { Snapshot } from '../config/snapshot.ts';
import { createTransfers } from '../identity/people.ts';
import { SILENT } from '../log.ts';
import { parseCertificate } from '../pki/certificate.ts';
import type { Admission } from '../policy/facts.ts';
import { parseHost } from '../policy/host.ts';
import { createRefresher } from '../revocation/refresher.ts';
import { createRevocationView } from '../revocation/view.ts';
import { readDenyList } from '../store/deny-list.ts';
import { createDenyTable } from '../store/deny-table.ts';
import { readTransfers } from '../store/transfers.ts';
import { createAdmissionOffice } from '../tls/admission.ts';
import { deniedCertificate } from '../tls/denied.ts';

export interface AloneOptions {
  /** False: as if the deny list were empty. Default true. */
  readonly denyList?: boolean;
  /** ms since the epoch */
  readonly now: () => number;
}

/** The gateway's own code without a gateway. */
export interface Alone {
  /** The admission of a certificate (DER, the leaf first) on a listener, under the name that the client asks for. */
  admit(listener: TlsListenerConfig, chain: readonly Uint8Array[], host: string): Promise<Admission>;
  close(): Promise<void>;
}

/** Reads what admissions stand on: the configuration, the state directory and the revocation sources as they are now, and asks where it has to. Nothing is kept. To be opened once for a snapshot: the octets of its CRLs are handed over. */
export async function openAlone(snapshot: Snapshot, { denyList = true, now }: AloneOptions): Promise<Alone> {
  const { config } = snapshot;
  const table = createDenyTable();
  const state = resolve(snapshot.directory, config.state);
  if (denyList) readDenyList(state, table);
  const transfers = createTransfers(readTransfers(state));
  const desk = createRevocationView({
    ask: (certificate, issuer) => refresher.askOcsp(parseCertificate(certificate), parseCertificate(issuer)),
    fetchCrl: (certificate, issuer) => refresher.fetchCrl(parseCertificate(certificate), parseCertificate(issuer)),
    fetchIssuers: (url) => refresher.fetchIssuers(url),
    now, checked: () => undefined,
  });
  // What the running gateway keeps is read; what is fetched here is not kept: the state is the gateway's.
  const refresher = await createRefresher({
    state, now, log: SILENT, look: true, serially: (change) => change(), changed: () => Promise.resolve(),
    publish: (handles) => Promise.resolve(desk.replaceCrls(handles)), denied: (certificate) => deniedCertificate(table, [certificate]) !== undefined,
  });
  refresher.adopt(await refresher.load(snapshot));
  desk.replaceCrls(refresher.handles());
  refresher.start();
  return {
    async admit(listener, [leaf, ...others], host) {
      const office = createAdmissionOffice({
        config, realms: snapshot.listeners[listener.name]?.realms ?? [], authorities: snapshot.authorities, aliases: new Map(Object.entries(config.aliases)), deny: table, revocation: desk.view(config.revocation), now,
        transfers: () => transfers,
        fetchFrom: listener.client_auth.fetch_intermediates?.from ?? [],
      });
      const name = parseHost(host);
      return office.admit({ leaf, intermediates: () => others }, name.kind === 'host' ? name.name : '');
    },
    close: () => refresher.close(),
  };
}
