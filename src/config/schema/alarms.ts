import { z } from 'zod';
import { hours, name, network, pattern, timeout, timeZone } from '../values.ts';
import { alarmChannel } from './alarm-channels.ts';
import { count, mapping, some, whole } from './shapes.ts';

const exempt = mapping({
  roles: some(name, 'expected a list of roles').describe('Roles that it says nothing about.').exactOptional(),
  networks: some(network, 'expected a list of networks such as 10.1.0.0/16').describe('Networks that it says nothing about.').exactOptional(),
}).describe('Whom it says nothing about.').exactOptional();

const OFF = z.literal('off');

/** The settings of a rule, or `off`. */
function rule<Shape extends z.core.$ZodLooseShape>(shape: Shape, description: string) {
  return z.union([OFF, mapping({ ...shape, exempt })], { error: 'expected off, or the settings of the rule' }).describe(description);
}

const plain = (description: string) => rule({}, description).prefault({});
const window = (text: string) => timeout.describe('The time that is looked at, up to each record.').prefault(text);
const byRole = z.record(name, hours, { error: 'expected a mapping of roles to hours such as { doctor: Mon-Fri 06:00-22:00 }' });

export const alarmRules = mapping({
  unfamiliar_address: rule({
    learn: timeout.describe('How long a certificate is only watched.').prefault('14d'),
    least: count('Requests it must have made before that is over.').default(20),
    roams: whole(1, 16).describe('A certificate that is in more places than this within forget is at home nowhere, and not told of.').default(8),
    forget: timeout.describe('After how long a place is unfamiliar again.').prefault('90d'),
  }, 'A certificate is used at a place where it has not been used before.').prefault({}),
  off_hours: rule({
    hours: byRole.describe('When each role works; roles that are not named work at any time.').default({}),
    grace: timeout.describe('How much earlier and later is no news.').prefault('15m'),
  }, 'A certificate is used outside the hours of its role, or a device outside its own (docs/devices.md).').prefault({}),
  request_burst: rule({
    learn: timeout.describe('How long a certificate is only watched.').prefault('7d'),
    requests: count('Requests of one certificate in the window.').default(600),
    window: window('1m'),
    times: whole(1, 1_000).describe('How many times its own usual most they must be as well.').default(4),
  }, 'A certificate asks far more than it usually does.').prefault({}),
  many_denials: rule({
    denials: count('Denials in the window.').default(20),
    window: window('5m'),
    except: z.array(z.string(), { error: 'expected a list of reasons' }).describe('Reasons that do not count.')
      .default(['suspended', 'step_up_required', 'ocsp_unavailable', 'crl_missing', 'crl_expired', 'overloaded', 'audit_unavailable', 'not_found']),
  }, 'A certificate, or an address without one, is denied again and again.').prefault({}),
  many_revocations: rule({
    revocations: count('Entries of the deny list in the window.').default(20),
    window: window('1h'),
  }, 'Many certificates are revoked at about the same time.').prefault({}),
  revocation_without_reason: plain('Something is put on the deny list, and why is not said.'),
  two_places: rule({
    window: window('10m'),
    switches: whole(2, 6).describe('How often it must have come and gone between them: who walks from one to the other does so once.').default(3),
  }, 'A certificate is used at two places at once.').prefault({}),
  responder: rule({
    failures: count('Failures of one responder or CRL in the window; an answer that is not signed as it has to be is told of at once.').default(3),
    window: window('15m'),
  }, 'An OCSP responder or a distribution point fails, is out of date, or says what it has not signed.').prefault({}),
  certificate_requests: rule({
    requests: count('Requests of one requester in the window.').default(10),
    window: window('10m'),
  }, 'Somebody asks for many certificates.').prefault({}),
  sensitive_names: rule({
    names: some(pattern, 'expected a list of names, in which * stands for anything').describe('Names that are not asked for at night.').default(['*admin*', '*root*', '*gateway*', '*operator*', '*管理员*', '*网关*', '*运维*']),
    hours: hours.describe('When they may be asked for.').prefault('Mon-Fri 07:00-19:00'),
  }, 'A certificate for a sensitive name is asked for off hours.').prefault({}),
  unregistered_device: plain('A certificate is used on a device that nobody has registered.'),
  mismatched_device: plain('A certificate is used on hardware that is another than the registered one.'),
  inactive_device: plain('A device is used that is lost, blocked or scrapped.'),
  moved_device: plain('A device is used outside its networks.'),
  foreign_token: plain('An access token is shown with another certificate than the one it is bound to.'),
  break_glass: plain('A grant for an emergency is opened.'),
  temporary_certificate: plain('A temporary certificate is in use for a day, and another one.'),
  backup_missed: plain('A backup, or a restore test, that backup.expected names was not made in time.'),
  server_certificate: plain('A certificate of a listener has expired, is revoked or does not verify: another serves in its place, or none does (docs/certificates.md).'),
}).describe('What is told of; each rule is on unless it is off.').prefault({});

export const alarms = mapping({
  timezone: timeZone.describe('Time zone (IANA) of hours in rules.').default('UTC'),
  apart: z.array(name, { error: 'expected a list of roles' }).describe('Roles whose places outside networks.inside and networks.sites are told apart by network (IPv4 /24, IPv6 /48). For all others, outside is one place.').default([]),
  remind: timeout.describe('How often channels are told again of an alarm that is not acknowledged.').prefault('4h'),
  keep: timeout.describe('How long alarms that are acknowledged can still be looked at.').prefault('400d'),
  rules: alarmRules,
  channels: z.array(alarmChannel, { error: 'expected a list of channels' }).describe('Who is told.').default([]),
}).describe('Rules over the audit, and who is told when one of them finds something; docs/alarms.md. Absent: alarms are logged and counted, and that is all.');
