import { show, type Fault, type Path } from '../issue.ts';
import { items, texts } from './plain-values.ts';

const SECTION: Path = ['second_factor', 'webauthn'];

/** Names under which no security key could ever be used: browsers hold a key's domain against that of the page (WebAuthn section 5.1.3). */
export function keySiteFaults(value: unknown): Fault[] {
  const domains = texts(value, [...SECTION, 'rp_ids']).map(({ text }) => text.toLowerCase());
  if (domains.length === 0) return [];
  const covered = (host: string): boolean => domains.some((domain) => host === domain || host.endsWith(`.${domain}`));
  const listed = domains.join(', ');
  return [
    ...texts(value, [...SECTION, 'origins']).flatMap(({ text, place }): Fault[] => {
      const host = /^https:\/\/([^/:]+)/.exec(text)?.[1];
      return host === undefined || covered(host) ? [] : [{ path: place, message: `${show(host)} is neither one of the RP ids nor below one: ${listed}` }];
    }),
    ...items(value, ['routes']).flatMap((route, index): Fault[] => {
      const wanted = texts(route, ['require', 'second_factor']).map(({ text }) => text);
      if (wanted.length !== 1 || wanted[0] !== 'webauthn') return [];
      return texts(route, ['match', 'host']).filter(({ text }) => !covered(text.toLowerCase().replace(/^\*\./, 'a.')))
        .map(({ text, place }) => ({ path: ['routes', index, ...place], message: `security keys cannot be used at ${show(text)}, which is below none of second_factor.webauthn.rp_ids: ${listed}` }));
    }),
  ];
}
