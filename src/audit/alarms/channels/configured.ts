import type { AlarmChannelConfig } from '../../../config/schema.ts';
import type { AlarmChannelMaterial } from '../../../config/snapshot.ts';
import type { ChannelSetup } from './channel.ts';

const SYSLOG_PORT = 6514;

/** What a channel of the configuration is made of. */
export function channelSetup(config: AlarmChannelConfig, { trust, certificate, key, secret }: AlarmChannelMaterial): ChannelSetup {
  const { name, timeout, rules, after } = config;
  const { host, port } = placeOf(config);
  const common = {
    name, timeout, ...(rules === undefined ? {} : { rules }), ...(after === undefined ? {} : { after }),
    tls: { trust, serverName: config.tls.server_name ?? host, ...(certificate === undefined || key === undefined ? {} : { certificate, key }) },
  };
  switch (config.kind) {
    case 'webhook': return { ...common, kind: 'webhook', url: config.url, secret: secret ?? new Uint8Array() };
    case 'syslog': return { ...common, kind: 'syslog', host, port: port ?? SYSLOG_PORT };
    case 'mail': {
      const { from, to, user, encryption } = config;
      const implicit = encryption === 'implicit';
      const login = user === undefined || secret === undefined ? {} : { login: { user, password: Buffer.from(secret).toString('utf8') } };
      return { ...common, kind: 'mail', host, port: port ?? (implicit ? 465 : 587), implicit, from, to, ...login };
    }
  }
}

/** A host without brackets, and the port that was written. */
function placeOf(config: AlarmChannelConfig): { readonly host: string; readonly port: number | undefined } {
  if (config.kind === 'webhook') return { host: new URL(config.url).hostname.replace(/^\[(.*)\]$/, '$1'), port: undefined };
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(config.kind === 'mail' ? config.server : config.receiver) ?? [];
  return { host: bracketed ?? plain ?? '', port: port === undefined ? undefined : Number(port) };
}
