import { join } from 'node:path';
import type { Config, ExpiryConfig } from '../../config/schema.ts';
import type { AlarmChannelMaterial } from '../../config/snapshot.ts';
import { USUAL_TIERS } from '../../pki/ending.ts';
import { channelSetup } from '../alarms/channels/configured.ts';
import type { ExpirySetup } from './open.ts';

/** The name of their position. */
export const EXPIRY_CONSUMER = 'expiry';

/** Where what is kept of warnings lies in a state directory. */
export function expiryFile(state: string): string {
  return join(state, 'expiry.db');
}

/** The tiers of a configuration, or those that hold without one; ms before the end, the longest first. */
export function tiersOf(config: Pick<Config, 'expiry'>): readonly number[] {
  return ordered(config.expiry).map(({ before }) => before);
}

/** What warnings of a configuration are made of; undefined where there are none. `state`: the state directory, absolute. */
export function expirySetup({ alarms, expiry: wanted }: Pick<Config, 'alarms' | 'expiry'>, materials: Readonly<Record<string, AlarmChannelMaterial>>, state: string): ExpirySetup | undefined {
  if (wanted === undefined) return undefined;
  const channels = alarms?.channels ?? [];
  const tiers = ordered(wanted);
  const whoever = (isLast: boolean): readonly string[] => channels.filter(({ rules, after }) => (rules === undefined || rules.includes('expiry')) && (after === undefined || isLast)).map(({ name }) => name);
  const told = tiers.map(({ before, channels: named }, index) => ({ before, channels: named ?? whoever(index === tiers.length - 1) }));
  const names = new Set(told.flatMap((tier) => tier.channels));
  const [hours = 0, minutes = 0] = wanted.at.split(':').map(Number);
  return {
    file: expiryFile(state), tiers: told, at: hours * 60 + minutes, timezone: wanted.timezone, ...(wanted.clients === 'off' ? {} : { except: wanted.clients.except }),
    channels: channels.flatMap((channel) => {
      const material = materials[channel.name];
      return material === undefined || !names.has(channel.name) ? [] : [channelSetup(channel, material)];
    }),
  };
}

function ordered(wanted: ExpiryConfig | undefined): NonNullable<ExpiryConfig['tiers']> {
  return (wanted?.tiers ?? USUAL_TIERS.map((before) => ({ before }))).toSorted((left, right) => right.before - left.before);
}
