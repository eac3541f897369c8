import type { AuditRecord } from '../record.ts';
import type { Form } from './setup.ts';

/** What a message of syslog (RFC 5424) says of itself. */
export interface MessageHead {
  /** Facility times 8 and severity. */
  readonly priority: number;
  /** ISO 8601, UTC. */
  readonly time: string;
  /** HOSTNAME. */
  readonly host: string;
  /** PROCID. */
  readonly process: number;
  /** MSGID. */
  readonly kind: string;
}

/** Security and authorization messages, notice: what ITI-20 has for audit messages. */
const ATNA = 85;
/** Log audit; informational, and warning. */
const AUDIT = 110;
const AUDIT_WARNING = 108;
const BOM = '\u{feff}';
const NAMELESS = '-';

/** A message as RFC 5425 frames it: its octets counted in front of it. */
export function frame({ priority, time, host, process, kind }: MessageHead, message: string): Buffer {
  const octets = Buffer.from(`<${priority}>1 ${time} ${visible(host, 255)} wardgate ${process} ${visible(kind, 32)} - ${message}`);
  return Buffer.concat([Buffer.from(`${octets.length} `), octets]);
}

/** A record in one of the forms. Only what IHE has the BOM for gets one: those who read CEF or JSON stumble over it. */
export function frameRecord(record: Pick<AuditRecord, 'time' | 'result'>, text: string, form: Form, host: string, process: number): Buffer {
  const { time, result } = record;
  if (form === 'dicom') return frame({ priority: ATNA, time, host, process, kind: 'IHE+RFC-3881' }, BOM + text);
  const priority = result === 'denied' || result === 'failed' ? AUDIT_WARNING : AUDIT;
  return frame({ priority, time, host, process, kind: form === 'cef' ? 'CEF' : 'audit' }, text);
}

/** A checkpoint of the audit. */
export function frameCheckpoint(line: string, time: string, host: string, process: number): Buffer {
  return frame({ priority: AUDIT, time, host, process, kind: 'checkpoint' }, line);
}

/** Fields of the head are printable ASCII without blanks. */
function visible(text: string, longest: number): string {
  return text.replace(/[^\x21-\x7e]/g, '').slice(0, longest) || NAMELESS;
}
