import type { Asked } from './exchange.ts';
import { chooseLanguage, type Language } from './language.ts';

/** What Java's HttpURLConnection sends of itself where a program names nothing: it is no browser, and would not read a page. */
const JAVA = 'text/html, image/gif, image/jpeg, ';

/** What browsers send forms as, which they show the answer to. */
const FORM = /^(?:application\/x-www-form-urlencoded|multipart\/form-data)\s*(?:;|$)/i;

/** Whether a browser asks, or sends a form, in order to show the answer; HEAD is what its GET would be (Fetch Metadata where it sends that; else by what it says that it reads, and no browser would rather have JSON). */
export function isNavigation({ method, fields }: Pick<Asked, 'method' | 'fields'>): boolean {
  let form = false;
  const accepted: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    const value = fields[index + 1] as string;
    if (name === 'content-type') form ||= FORM.test(value);
    if (name === 'accept') accepted.push(value.toLowerCase());
    if (name === 'sec-fetch-mode' && value !== 'navigate') return false;
  }
  if (method !== 'GET' && method !== 'HEAD' && !(method === 'POST' && form)) return false;
  const accept = accepted.join(',');
  const html = weightOf(accept, (type) => type === 'text/html');
  return html > 0 && html > weightOf(accept, (type) => type.endsWith('json')) && !accept.startsWith(JAVA);
}

/** The most that the media ranges of an `Accept` in lower case (RFC 9110 section 12.5.1) give to types that fit; 0 without one. What is no weight counts as 1. */
function weightOf(accept: string, fits: (type: string) => boolean): number {
  let most = 0;
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    if (!fits(type)) continue;
    const weight = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1);
    most = Math.max(most, Number.isNaN(weight) ? 1 : weight);
  }
  return most;
}

/** The language that the pages for whoever asks are in. */
export function languageOf({ fields }: Pick<Asked, 'fields'>): Language {
  const at = fields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'accept-language');
  return chooseLanguage(undefined, at === -1 ? undefined : fields[at + 1]);
}
