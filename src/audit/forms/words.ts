import type { AuditRecord } from '../record.ts';

/** The longest text of a record in a form: nothing that any of them is for is longer. */
const LONGEST = 8_192;
/** What nearly all texts are. */
const PLAIN = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/;

/** Text that every form may hold: without control characters and halves of characters, blanks plain, bounded; undefined where nothing is left of it. */
export function fittingText(text: string): string | undefined {
  if (text.length <= LONGEST && PLAIN.test(text)) return text;
  const fitting = text.slice(0, LONGEST).toWellFormed().replace(/\s/g, ' ').replace(/[\p{Cc}\ufffe\uffff]/gu, '\ufffd').trim();
  return fitting === '' ? undefined : fitting;
}

/** Why something was denied, or failed. */
export function describe({ reason, detail, status, result }: AuditRecord): string {
  const why = [reason, detail].filter((part) => part !== undefined).join(': ');
  return why !== '' ? why : status === undefined ? result : `status ${status}`;
}

/** The target of a request, as far as there is one. */
export function requestText({ path = '', query, route, event }: AuditRecord): string {
  return fittingText(query === undefined ? path : `${path}?${query}`) ?? route ?? event;
}

/** The host of a request, as it may stand in a URL. */
export function hostOf({ host }: AuditRecord): string | undefined {
  return host === undefined ? undefined : fittingText(host)?.replace(/\s/g, '');
}
