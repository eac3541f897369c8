import { connectReceiver } from '../../sinks/connection.ts';
import { frame } from '../../sinks/frame.ts';
import { within, type Channel, type SyslogSetup } from './channel.ts';
import { oneLine } from './words.ts';

const PACE_MS = 1_000;
const MOST = 100;
/** Log alert, alert. */
const PRIORITY = 14 * 8 + 1;

/**
 * A message of syslog over TLS for each alarm, a sentence and then the whole as JSON. Syslog has no acknowledgements: they count as received once the receiver has
 * closed the connection in order behind them.
 */
export function openSyslog({ name, host: receiver, port, timeout, tls: { trust, serverName, certificate, key } }: SyslogSetup, host: string): Channel {
  return {
    name, pace: PACE_MS, most: MOST,
    async send(told) {
      const connection = await connectReceiver({
        host: receiver, port, serverName, trust, timeout, ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
      });
      try {
        const messages = told.map((one) => frame({ priority: PRIORITY, time: one.alarm.last, host, process: process.pid, kind: 'alarm' }, `${oneLine(one)} ${JSON.stringify({ kind: one.kind, ...one.alarm })}`));
        await connection.write(Buffer.concat(messages));
        await within(2 * timeout, connection.finish(), `${receiver}:${port}`);
      } finally {
        connection.destroy();
      }
    },
    close: () => undefined,
  };
}
