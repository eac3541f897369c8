import type { Asked } from './exchange.ts';
import { chooseLanguage, type Language } from './language.ts';

/** Whether a browser asks in order to show the answer (Fetch Metadata where it sends that). */
export function isNavigation({ method, fields }: Pick<Asked, 'method' | 'fields'>): boolean {
  let html = false;
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    const value = fields[index + 1] as string;
    if (name === 'accept') html ||= value.toLowerCase().includes('text/html');
    if (name === 'sec-fetch-mode' && value !== 'navigate') return false;
  }
  return html && method === 'GET';
}

/** The language that the pages for whoever asks are in. */
export function languageOf({ fields }: Pick<Asked, 'fields'>): Language {
  const at = fields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'accept-language');
  return chooseLanguage(undefined, at === -1 ? undefined : fields[at + 1]);
}
