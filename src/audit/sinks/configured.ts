import { join } from 'node:path';
import type { SinkConfig, SyslogAnchorConfig } from '../../config/schema.ts';
import type { Snapshot, UpstreamMaterial } from '../../config/snapshot.ts';
import type { ReceiverSetup, SinkSetup } from './setup.ts';

const SYSLOG_PORT = 6514;

/** What a sink of the configuration is made of; `positions` is where dead letters go, too. */
export function sinkSetup(sink: SinkConfig, material: UpstreamMaterial | undefined, inDirectory: (path: string) => string, positions: string): SinkSetup {
  const { name, history } = sink;
  if (sink.kind === 'file') return { name, history, kind: 'file', file: inDirectory(sink.file), form: sink.form };
  if (material === undefined) throw new Error(`the sink ${name} without trust`);
  if (sink.kind === 'syslog') return { name, history, kind: 'syslog', form: sink.form, every: sink.every, acknowledged: sink.acknowledged, receiver: receiverSetup(sink, material) };
  const { server_name: serverName } = sink.tls;
  return {
    name, history, kind: 'fhir', url: sink.url.replace(/\/+$/, ''), bundle: sink.bundle, tries: sink.tries, repeats: sink.repeats, timeout: sink.timeout, deadLetters: join(positions, `${name}.dead`),
    ...(serverName === undefined ? {} : { serverName }), ...material,
  };
}

/** Where checkpoints go by syslog; undefined: nowhere. */
export function anchorReceiver({ config: { audit }, anchor }: Snapshot): ReceiverSetup | undefined {
  return audit.anchor?.syslog === undefined || anchor === undefined ? undefined : receiverSetup(audit.anchor.syslog, anchor);
}

/** How a receiver of syslog is reached and verified. */
function receiverSetup({ receiver, tls, timeout }: SyslogAnchorConfig, material: UpstreamMaterial): ReceiverSetup {
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(receiver) ?? [];
  const host = bracketed ?? plain ?? '';
  return { host, port: port === undefined ? SYSLOG_PORT : Number(port), serverName: tls.server_name ?? host, timeout, ...material };
}
