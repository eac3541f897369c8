import type { Channel, ChannelSetup } from './channel.ts';
import { openMail } from './mail.ts';
import { openSyslog } from './syslog.ts';
import { openWebhook } from './webhook.ts';

/** Opens a channel; nothing connects before there is something to tell. `host`: what the gateway calls itself. */
export function openChannel(setup: ChannelSetup, host: string, now: () => number): Channel {
  switch (setup.kind) {
    case 'mail': return openMail(setup, host);
    case 'webhook': return openWebhook(setup, host, now);
    case 'syslog': return openSyslog(setup, host);
  }
}
