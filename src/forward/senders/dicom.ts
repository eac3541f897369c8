import type { SenderName } from '../../policy/senders.ts';
import { NONE, type Finding, type Scanner } from './scanner.ts';

const ASSOCIATE_RQ = 0x01;
/** What a requester may send once it has asked for its association (PS3.8 section 9.3.1): P-DATA-TF, A-RELEASE-RQ and -RP, A-ABORT. */
const LATER = new Set([0x04, 0x05, 0x06, 0x07]);

/** Type, reserved octet, length. */
const PDU_HEADER = 6;
/** The fields of fixed length of an A-ASSOCIATE-RQ (PS3.8 table 9-11). */
const FIXED_FIELDS = 74;
/** 128 presentation contexts and a user's identity fit many times. */
const LARGEST_REQUEST = 1 << 20;

/**
 * Follows DICOM PDUs (PS3.8 section 9.3): the first one asks for an association and names the AE titles, and no other one may
 * ask again on the same connection.
 */
export function createDicomScanner(): Scanner {
  let asked = false;
  /** What was held back of earlier chunks: the beginning of a PDU. */
  let held: Buffer = NONE;
  /** Octets of the current PDU still to come. */
  let left = 0;

  function* scan(chunk: Buffer): Generator<Finding, void, void> {
    let from = 0;
    let at = 0;
    while (at < chunk.length) {
      const skipped = Math.min(left, chunk.length - at);
      at += skipped;
      left -= skipped;
      if (at === chunk.length) break;
      const needed = asked ? PDU_HEADER : FIXED_FIELDS;
      const end = Math.min(chunk.length, at + needed - held.length);
      const head = Buffer.concat([held, chunk.subarray(at, end)]);
      const fault = asked ? laterFault(head) : requestFault(head);
      const together = asked && held.length === 0 && head.length === needed;
      if (!together || fault !== undefined) {
        if (at > from) yield { kind: 'octets', octets: chunk.subarray(from, at) };
        from = end;
      }
      if (fault !== undefined) return yield { kind: 'malformed', detail: fault };
      at = end;
      if (head.length < needed) {
        held = head;
        break;
      }
      if (!asked) yield { kind: 'sender', announced: { kind: 'dicom', calling: titleIn(head, 26), called: titleIn(head, 10) } };
      if (!together) yield { kind: 'octets', octets: head };
      asked = true;
      held = NONE;
      left = head.readUInt32BE(2) - (needed - PDU_HEADER);
    }
    if (at > from) yield { kind: 'octets', octets: chunk.subarray(from, at) };
  }

  return { scan, whole: () => left === 0 && held.length === 0 };
}

/** What is wrong with a PDU of an association, of which at least the first octet is there. */
function laterFault(head: Buffer): string | undefined {
  const type = head[0] as number;
  if (type === ASSOCIATE_RQ) return 'a second A-ASSOCIATE-RQ on the connection';
  return LATER.has(type) ? undefined : `a PDU of type ${hex(type)} from the requester of an association`;
}

/** What is wrong with the fixed fields of an A-ASSOCIATE-RQ, as far as they are there. */
function requestFault(head: Buffer): string | undefined {
  if (head[0] !== ASSOCIATE_RQ) return `the first octet is ${hex(head[0] as number)}, not an A-ASSOCIATE-RQ`;
  if (head.length < FIXED_FIELDS) return undefined;
  const length = head.readUInt32BE(2);
  if (length < FIXED_FIELDS - PDU_HEADER || length > LARGEST_REQUEST) return `an A-ASSOCIATE-RQ of ${length} octets`;
  if ((head.readUInt16BE(6) & 1) === 0) return 'an A-ASSOCIATE-RQ of another protocol version';
  if (!TITLE.test(rawTitle(head, 10))) return 'a called AE title that is none';
  return TITLE.test(rawTitle(head, 26)) ? undefined : 'a calling AE title that is none';
}

// PS3.5 table 6.2-1: no backslash, no control characters, not blanks only. A NUL would end it for receivers written in C.
const TITLE = /^(?! +$)[ -[\]-~]{16}$/;

function rawTitle(head: Buffer, at: number): string {
  return head.toString('latin1', at, at + 16);
}

function titleIn(head: Buffer, at: number): string {
  return rawTitle(head, at).trim();
}

function hex(octet: number): string {
  return `0x${octet.toString(16).padStart(2, '0')}`;
}

/**
 * An A-ASSOCIATE-RJ (PS3.8 section 9.3.4) from the service user: for good when an AE title is not recognized, and for now, from the
 * service provider, when there is nobody to associate with.
 */
export function associationReject(cause: Extract<SenderName, 'calling' | 'called'> | 'congestion'): Buffer {
  const fields = { calling: [1, 1, 3], called: [1, 1, 7], congestion: [2, 3, 1] } as const;
  return Buffer.from([0x03, 0, 0, 0, 0, 4, 0, ...fields[cause]]);
}
