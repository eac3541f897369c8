import { withinHours } from '../../policy/hours.ts';
import type { AuditRecord } from '../record.ts';
import { isRevocation } from './count-rules.ts';
import { exemptOf } from './exempt.ts';
import { whoOf, type Finding, type Rule, type RuleName, type SettingsOf } from './rule.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** Outside the hours of a role; and what the gateway itself refused outside the hours of a device. */
export function offHours({ hours, grace, exempt }: SettingsOf<'off_hours'>, zone: string): Rule {
  const isExempt = exemptOf(exempt);
  const byRole = new Map(Object.entries(hours).map(([role, windows]) => [role, { zone, windows }]));
  return {
    name: 'off_hours',
    look({ record }, { time }) {
      const { event, fingerprint, role, alarm } = record;
      if (fingerprint === undefined || role === undefined || isExempt(record)) return undefined;
      const own = byRole.get(role);
      const late = own !== undefined && (event === 'request' || event === 'connection') && !withinHours(own, time) && !withinHours(own, time - grace) && !withinHours(own, time + grace);
      if (!late && alarm !== 'off_hours') return undefined;
      // From one evening to the next morning it is the same; whoever was known to be at work and goes on is no news, who comes back later is.
      return { subject: `certificate ${fingerprint}`, text: late ? `a certificate of role ${role} is used outside its hours` : 'a device is used outside its hours', quiet: 6 * HOUR_MS, covers: HOUR_MS };
    },
  };
}

/** Texts that say nothing: the gateway's own for events without one, and what people type into a field that must not be empty. */
const NO_REASON = /^(?:none given|none|no reason|unspecified|unknown|n\/?a|-+|\.+|\?+|x+|test)?$/i;

export function revocationWithoutReason({ exempt }: SettingsOf<'revocation_without_reason'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'revocation_without_reason',
    look({ record }) {
      if (!isRevocation(record) || isExempt(record)) return undefined;
      const reason = /^denied: ([\s\S]*)$/.exec(record.detail ?? '')?.[1]?.trim() ?? '';
      if (!NO_REASON.test(reason)) return undefined;
      const { fingerprint, serial, key, issuer } = record;
      const about = fingerprint !== undefined ? `certificate ${fingerprint}` : key !== undefined ? `key ${key}` : serial !== undefined ? `serial ${serial}` : issuer !== undefined ? 'an issuer' : 'an id';
      return { subject: about, text: 'something was put on the deny list, and why was not said', quiet: DAY_MS };
    },
  };
}

/** What the gateway says of a record by itself (`alarm`). */
const SAID = {
  unregistered_device: 'a certificate is used on a device that nobody has registered',
  mismatched_device: 'a certificate is used on hardware that is not the registered one',
  inactive_device: 'a device is used that is lost, blocked or scrapped',
  moved_device: 'a device is used outside its networks',
  foreign_token: 'an access token is shown with another certificate than its own',
} as const satisfies Partial<Record<RuleName, string>>;

export function said(name: keyof typeof SAID, { exempt }: SettingsOf<keyof typeof SAID>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name,
    look({ record }): Finding | undefined {
      if (record.alarm !== name || isExempt(record)) return undefined;
      return { subject: whoOf(record) ?? 'the gateway', text: SAID[name], quiet: HOUR_MS };
    },
  };
}

/** Each grant is news of its own. */
export function breakGlass({ exempt }: SettingsOf<'break_glass'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'break_glass',
    look({ record }) {
      if (record.alarm !== 'break_glass' || isExempt(record)) return undefined;
      return { subject: `grant ${record.break_glass?.id ?? 'unnamed'}`, text: `role ${record.role ?? 'unknown'} opened an emergency grant on route ${record.route ?? 'unknown'}`, quiet: DAY_MS };
    },
  };
}

/** The gateway says so once a day while it lasts: whoever acknowledges it and does nothing hears of it again. */
export function backupMissed({ exempt }: SettingsOf<'backup_missed'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'backup_missed',
    look({ record }) {
      if (record.alarm !== 'backup_missed' || isExempt(record)) return undefined;
      const isTest = record.detail?.startsWith('verify') === true;
      return { subject: isTest ? 'restore tests' : 'backups', text: isTest ? 'a restore test of the backups is overdue' : 'a backup is overdue', quiet: 3 * DAY_MS };
    },
  };
}

/** The gateway says so once a day until a regular one is there. */
export function temporaryCertificate({ exempt }: SettingsOf<'temporary_certificate'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'temporary_certificate',
    look({ record }) {
      if (record.alarm !== 'temporary_certificate' || isExempt(record)) return undefined;
      return { subject: whoOf(record) ?? 'the gateway', text: `a temporary certificate is not replaced yet; it ends ${record.not_after ?? 'soon'}`, quiet: 3 * DAY_MS };
    },
  };
}

/** Said once when it begins: where nothing stands in, clients are refused, or soon will be. */
export function serverCertificate({ exempt }: SettingsOf<'server_certificate'>): Rule {
  const isExempt = exemptOf(exempt);
  return {
    name: 'server_certificate',
    look({ record }) {
      if (record.alarm !== 'server_certificate' || isExempt(record)) return undefined;
      const alone = record.detail?.endsWith(' for want of a better one') === true;
      return { subject: `listener ${record.listener ?? 'unnamed'}`, text: alone ? 'a server certificate is not usable, and no other stands in' : 'a server certificate is not usable; another serves in its place', quiet: HOUR_MS };
    },
  };
}

/** A certificate for a name that matters, asked for while nobody should. */
export function sensitiveNames({ names, hours, exempt }: SettingsOf<'sensitive_names'>, zone: string): Rule {
  const isExempt = exemptOf(exempt);
  const patterns = names.map((name) => new RegExp(`^${name.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^]*')}$`, 'iu'));
  const working = { zone, windows: hours };
  return {
    name: 'sensitive_names',
    look({ record }, { time }) {
      if (record.event !== 'certificate_request' || isExempt(record) || withinHours(working, time)) return undefined;
      const name = namesOf(record).find((one) => patterns.some((pattern) => pattern.test(one)));
      return name === undefined ? undefined : { subject: whoOf(record) ?? 'the command line', text: 'a certificate for a sensitive name was asked for outside working hours', quiet: 6 * HOUR_MS };
    },
  };
}

function namesOf({ subject, names }: AuditRecord): readonly string[] {
  return [...subject === undefined ? [] : [subject], ...names ?? []];
}
