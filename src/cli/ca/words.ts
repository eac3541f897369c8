import type { CaEntry, CaEvent, CaRequest, Office } from '../../ca/office.ts';

const DAY_MS = 86_400_000;

export const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

/** What ends a line, steers a terminal or turns the direction of reading is shown as its number: people wrote these texts, and others believe what they read. */
const shown = (text: string): string => text.replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, (one) => `\\u{${(one.codePointAt(0) as number).toString(16)}}`);

/** One line about a certificate or about a request without one. */
export function lineOf({ id, state, profile, name, temporary, missing }: CaRequest, entry: CaEntry | undefined): string {
  const until = entry === undefined ? (missing.length === 0 ? '' : `  waits for ${missing.join(' and ')}`) : `  until ${dayOf(entry.notAfter)}  serial ${entry.serial}`;
  return shown(`${id}  ${(entry?.state ?? state).padEnd(10)} ${profile.padEnd(10)} ${name}${temporary === true ? '  TEMPORARY' : ''}${until}`);
}

/** All of a request, and of its certificate. */
export function detailsOf(request: CaRequest, entry: CaEntry | undefined): string {
  const names = (Object.entries(request.names) as [string, string[]][]).flatMap(([kind, values]) => values.map((value) => `${kind}:${value}`)).join(', ');
  return [
    `request       ${request.id}, ${entry?.state ?? request.state}`,
    `subject       ${request.subject}`,
    ...(names === '' ? [] : [`names         ${names}`]),
    `profile       ${request.profile}, valid for ${Number((request.validity / DAY_MS).toFixed(2))} days${request.temporary === true ? ', TEMPORARY' : ''}`,
    `applicant     ${request.applicant.name}${request.applicant.fingerprint === undefined ? '' : `, certificate ${request.applicant.fingerprint}`}, ${request.submitted}`,
    ...(request.applicant.login === undefined ? [] : [`typed by      ${request.applicant.typed_by ?? request.applicant.name}, logged in as ${request.applicant.login}`]),
    `for           ${request.purpose} (system ${request.system})`,
    `key           ${keyText(request.key)}`,
    ...(request.renews === undefined ? [] : [`renews        ${request.renews}`]),
    ...(request.sensitive === undefined ? [] : [`sensitive     ${request.sensitive.name}: ${request.sensitive.role} has to approve`]),
    ...request.approvals.map(({ by, role, time, fingerprint }) => `approved      by ${by} as ${role}, ${time}, certificate ${fingerprint}`),
    ...request.missing.map((one) => `waits for     ${one}`),
    `digest        ${request.digest}`,
    ...(entry === undefined ? [] : [
      `serial        ${entry.serial}, issuing CA ${entry.generation}`,
      `valid         ${new Date(entry.notBefore).toISOString()} to ${new Date(entry.notAfter).toISOString()}`,
      `fingerprint   ${entry.sha256}`,
      ...(entry.revoked === undefined ? [] : [`revoked       ${new Date(entry.revoked.at).toISOString()}, ${entry.revoked.reason}`]),
      ...(entry.renewedBy === undefined ? [] : [`renewed by    ${entry.renewedBy}`]),
    ]),
  ].map(shown).join('\n');
}

function keyText(key: CaRequest['key']): string {
  switch (key.kind) {
    case 'made': return `made here when it is issued (${key.type}), and not kept`;
    case 'csr': return `the applicant's, SHA-256 ${key.spki_sha256}`;
    case 'code': return `brought over EST by whoever has the code, which is good until ${key.expires}`;
    default: return key satisfies never;
  }
}

export function eventLine(event: CaEvent): string {
  const { seq, time, hash, sealed } = event;
  return shown(`${String(seq).padStart(5)}  ${time}  ${stepLine(event)}  ${hash.slice(0, 16)}${sealed ? ' sealed' : ''}`);
}

/** What was done, by whom and why. */
export function stepLine({ step, who, why, detail }: CaEvent): string {
  const more = ['role', 'to', 'how', 'reason', 'witness', 'number', 'sha256', 'ceremony', 'automatic'].flatMap((key) => (detail[key] === undefined ? [] : [`${key} ${String(detail[key])}`]));
  return shown(`${step}  by ${who}${more.length === 0 ? '' : `  (${more.join(', ')})`}${why === undefined ? '' : `  ${why}`}`);
}

/** What --json prints of one: no DER, the PEM instead. */
export function factsOf(request: CaRequest, entry: CaEntry | undefined): object {
  if (entry === undefined) return request;
  const { der: _der, chain, notBefore, notAfter, ...rest } = entry;
  return { ...request, state: entry.state, certificate: { ...rest, chain, notBefore: new Date(notBefore).toISOString(), notAfter: new Date(notAfter).toISOString() } };
}

export function entryOf(office: Office, request: CaRequest): CaEntry | undefined {
  return request.serial === undefined ? undefined : office.entry(request.serial);
}
