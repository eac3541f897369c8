import { z } from 'zod';
import { duration, httpUrl, name, pattern } from '../config/values.ts';
import { schemaFaults } from '../config/schema-faults.ts';
import { readYaml } from '../config/yaml-source.ts';
import { matchesText } from '../identity/patterns.ts';
import { longestValidity } from './limits.ts';
import { OfficeError } from './office-error.ts';

const DAY_MS = 86_400_000;

const lifetime = duration.refine((value) => value >= DAY_MS && value <= longestValidity.leaf, { error: 'expected from 1d to 731d, which is two years' });
const list = z.array(pattern).default([]);
/** `{name}` and `{id}` stand for what is asked for. */
const template = z.string().min(1).max(1_000);

const profile = z.strictObject({
  use: z.enum(['server', 'client', 'device']).describe('What certificates are for: servers show theirs, clients and devices prove with theirs who they are.'),
  role: name.exactOptional().describe('The role that they hold, which wardgate.yaml gives to such a subject; default: the name of the profile.'),
  subject: z.partialRecord(z.enum(['OU', 'O', 'L', 'ST', 'C', 'DC']), z.string().min(1).max(64)).default({}).describe('What stands in the subject beside the common name, which is the name asked for.'),
  san: z.strictObject({ dns: template.exactOptional(), uri: template.exactOptional(), email: template.exactOptional() }).default({}).describe('Alternative names that every certificate has; {name} and {id} are those asked for.'),
  names: z.strictObject({ dns: list, uri: list, email: list, ip: list }).prefault({}).describe('Further names that may be asked for: patterns, in which * stands for anything.'),
  validity: lifetime.prefault('365d').describe('How long they are valid when nothing else is asked for.'),
  longest: lifetime.prefault('731d').describe('The longest that may be asked for.'),
  approvers: z.array(name).min(1).describe('Roles of approvers, one of which has to approve.'),
  approvals: z.int().min(1).max(5).default(1).describe('How many people have to.'),
  renewal: z.enum(['approved', 'automatic']).default('approved').describe('Whether somebody approves each renewal, or one that is asked for with the old certificate needs nobody.'),
});

const schema = z.strictObject({
  profiles: z.record(name, profile).refine((all) => Object.keys(all).length > 0, { error: 'expected at least one profile' }),
  approvers: z.array(z.strictObject({ role: name, fingerprint: z.string().regex(/^[0-9a-f]{64}$/, { error: 'expected the SHA-256 of a certificate, in lower case' }) })).default([])
    .describe('Approvers whose certificates another CA issued. Those with certificates of this CA have the role of their profile.'),
  sensitive: z.strictObject({ names: list, approver: name.default('security') }).prefault({}).describe('Names for which one of the approvers has to have a role of its own.'),
  separate_logins: z.boolean().default(false).describe('Whether nobody approves from the login that the request was typed with, whatever names and certificates say.'),
  systems: z.array(z.string().min(1).max(200)).default([]).describe('Business systems that certificates may be for; none: any.'),
  publish: z.strictObject({ crl: httpUrl.exactOptional(), ocsp: httpUrl.exactOptional(), issuer: httpUrl.exactOptional(), root_crl: httpUrl.exactOptional() }).default({})
    .describe('Where the CRL, the responder, the issuing certificate and the CRL of the root are; written into certificates.'),
  crl: z.strictObject({ validity: duration.prefault('7d').refine((value) => value >= 3_600_000 && value <= 31 * DAY_MS, { error: 'expected from 1h to 31d' }) }).prefault({}),
});

/** What a CA issues, for whom, and who has to agree: `policy.yaml` of its directory. Durations in ms. */
export type CaPolicy = z.output<typeof schema>;
export type Profile = CaPolicy['profiles'][string];

/** Reads a policy. Throws an OfficeError that names every mistake. */
export function parsePolicy(text: string, file: string): CaPolicy {
  const source = readYaml(text);
  if (source.kind === 'invalid') throw new OfficeError('invalid', source.faults.map(({ line, column, message }) => `${file}:${line}:${column}: ${message}`).join('\n'));
  const parsed = schema.safeParse(source.value);
  const faults = [...source.faults, ...(parsed.success ? [] : schemaFaults(parsed.error.issues, source.value))];
  if (!parsed.success || faults.length > 0) {
    throw new OfficeError('invalid', faults.map(({ path, message }) => `${file}:${source.locate(path).line}:${source.locate(path).column}: ${path.join('.')}: ${message}`).join('\n'));
  }
  return parsed.data;
}

/** The profile of a name. Throws an OfficeError that lists those there are. */
export function profileOf({ profiles }: CaPolicy, wanted: string): Profile {
  const found = Object.hasOwn(profiles, wanted) ? profiles[wanted] : undefined;
  if (found === undefined) throw new OfficeError('invalid', `there is no profile ${JSON.stringify(wanted)}; there are ${Object.keys(profiles).join(', ')}`);
  return found;
}

/** Whether one of the names is sensitive, with the role that has to approve then. */
export function sensitivity({ sensitive }: CaPolicy, names: readonly string[]): { readonly name: string; readonly role: string } | undefined {
  // A wildcard stands for every name below it, the sensitive ones as well.
  const found = names.find((one) => sensitive.names.some((each) => matchesText(each, one)) || (sensitive.names.length > 0 && one.startsWith('*.')));
  return found === undefined ? undefined : { name: found, role: sensitive.approver };
}

/** What `ca init` writes; `domain` is that of the hospital's names. */
export function initialPolicy({ organization, domain }: { readonly organization: string; readonly domain: string }): string {
  const O = JSON.stringify(organization);
  return `# What this CA issues, for whom, and who has to agree. Every key: docs/ca.md.
profiles:
  server:
    use: server
    subject: { O: ${O} }
    san: { dns: "{name}" }
    names: { dns: ["*.${domain}", localhost], ip: ["*"] }
    approvers: [registrar, security]
  doctor:
    use: client
    subject: { OU: Doctors, O: ${O} }
    approvers: [registrar, security]
  patient:
    use: client
    subject: { OU: Patients, O: ${O} }
    san: { uri: "urn:patient:{id}" }
    approvers: [registrar, security]
  device:
    use: device
    subject: { OU: Devices, O: ${O} }
    san: { dns: "{id}" }
    approvers: [registrar, security]
    renewal: automatic              # asked for with the old certificate, same names
  gateway:                          # what a gateway shows to upstreams, and to this CA's EST server
    use: client
    subject: { OU: Gateways, O: ${O} }
    san: { dns: "{id}" }
    approvers: [security]
  operator:                         # whoever has the console and the admin API
    use: client
    subject: { OU: Operators, O: ${O} }
    approvers: [security]
  registrar:                        # who approves
    use: client
    subject: { OU: Registrars, O: ${O} }
    approvers: [security]
  security:                         # who approves sensitive names
    use: client
    subject: { OU: Security, O: ${O} }
    approvers: [security]
sensitive:
  names: ["*admin*", "*root*", "*gateway*", "*operator*", "*.*admin*", "*管理员*", "*网关*", "*运维*"]
  approver: security
systems: []                         # business systems, such as [records, imaging]; none: any
publish: {}                         # crl: http://pki.${domain}/issuing.crl, ocsp: http://pki.${domain}/ocsp, …
crl: { validity: 7d }
`;
}
