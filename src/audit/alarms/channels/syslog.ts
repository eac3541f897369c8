import { connectReceiver } from '../../sinks/connection.ts';
import { frame } from '../../sinks/frame.ts';
import { within, type Channel, type SyslogSetup } from './channel.ts';
import { oneLine } from './words.ts';

const PACE_MS = 1_000;
const MOST = 100;
/** Log alert, alert. */
const PRIORITY = 14 * 8 + 1;

/**
 * A message of syslog over TLS for each alarm, or line of an announcement, a sentence and then the whole as JSON. Syslog has no acknowledgements: they count as received once the receiver has
 * closed the connection in order behind them.
 */
export function openSyslog({ name, host: receiver, port, timeout, tls: { trust, serverName, certificate, key } }: SyslogSetup, host: string): Channel {
  async function write(messages: readonly Buffer[]): Promise<void> {
    const connection = await connectReceiver({
      host: receiver, port, serverName, trust, timeout, ...(certificate === undefined || key === undefined ? {} : { certificate, key }),
    });
    try {
      await connection.write(Buffer.concat(messages));
      await within(2 * timeout, connection.finish(), `${receiver}:${port}`);
    } finally {
      connection.destroy();
    }
  }

  function message(kind: string, time: string, text: string): Buffer {
    return frame({ priority: PRIORITY, time, host, process: process.pid, kind }, text);
  }

  return {
    name, pace: PACE_MS, most: MOST,
    send: (told) => write(told.map((one) => message('alarm', one.alarm.last, `${oneLine(one)} ${JSON.stringify({ kind: one.kind, ...one.alarm })}`))),
    announce: ({ kind, time, lines }) => write(lines.map(({ text, body }) => message(kind, time, `${text} ${JSON.stringify(body)}`))),
    close: () => undefined,
  };
}
