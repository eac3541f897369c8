import type { Config } from '../../config/schema.ts';
import type { AlarmChannelMaterial } from '../../config/snapshot.ts';
import { channelSetup } from './channels/configured.ts';
import type { AlarmsSetup } from './open.ts';

/** The name of their position. */
export const ALARMS_CONSUMER = 'alarms';

/** What alarms of a configuration are made of; undefined where there are none. */
export function alarmsSetup({ alarms, networks }: Config, materials: Readonly<Record<string, AlarmChannelMaterial>>, state: string): AlarmsSetup | undefined {
  if (alarms === undefined) return undefined;
  const { channels, ...config } = alarms;
  return {
    state, config, networks,
    channels: channels.map((channel) => {
      const material = materials[channel.name];
      if (material === undefined) throw new Error(`the alarm channel ${channel.name} without trust`);
      return channelSetup(channel, material);
    }),
  };
}
