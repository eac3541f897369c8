import type { CaEvent } from '../ca/ledger.ts';
import type { CaEntry, CaRequest } from '../ca/office-types.ts';
import { placeText } from './ca-head.ts';
import type { AuditRecord } from './record.ts';

/** A step of the CA, as it goes on record: `certificate_request` when somebody asks, which rules count by who asks, else `certificate`. */
export type CertificateStep = Pick<AuditRecord, 'subject' | 'names' | 'serial' | 'issuer' | 'fingerprint' | 'not_after' | 'address'> & {
  readonly event: 'certificate_request' | 'certificate';
  readonly who: string;
  readonly detail: string;
};

/** The record of an event of a CA (`ca`: the first 16 digits of the SHA-256 of its root); `request` and `entry` are those that it is about, where there are any. The address is where it was asked from, when not at the CA itself. */
export function certificateStep({ step, who, why, request: id, seq, hash, detail }: CaEvent, { ca, request, entry, address }: { readonly ca: string; readonly request?: CaRequest; readonly entry?: CaEntry; readonly address?: string }): CertificateStep {
  const about = request === undefined ? {} : { subject: request.subject, names: [request.name, ...(Object.values(request.names) as string[][]).flat()] };
  const place = placeText({ seq, hash }, ca);
  const from = address === undefined ? {} : { address };
  // Behind the colon stands what people wrote, which is masked.
  const behind = [...['to', 'how', 'witness'].flatMap((key) => (detail[key] === undefined ? [] : [`${key} ${JSON.stringify(detail[key])}`])), ...(why === undefined ? [] : [why])].join(', ');
  const said = behind === '' ? '' : `: ${behind}`;
  if (step === 'submit') {
    // Whoever asks is told apart by his own certificate, where he showed one.
    const fingerprint = request?.applicant.fingerprint;
    return { event: 'certificate_request', who, ...about, ...(fingerprint === undefined ? {} : { fingerprint }), ...from, detail: `submit ${id ?? ''} (profile ${request?.profile ?? 'unknown'}; ${place})${said}` };
  }
  const certificate = entry === undefined ? {} : { serial: entry.serial, fingerprint: entry.sha256, not_after: new Date(entry.notAfter).toISOString() };
  const more = ['reason', 'role', 'number', 'generation'].flatMap((key) => (detail[key] === undefined ? [] : [`${key} ${String(detail[key])}, `])).join('');
  return { event: 'certificate', who, ...about, ...certificate, ...from, detail: `${step}${id === undefined ? '' : ` ${id}`} (${more}${place})${said}`.slice(0, 4_000) };
}
