import type { PageRequest } from './client.ts';

/** The value of a field, the first where there are several; `name` in lower case. */
export function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let index = 0; index < fields.length; index += 2) if ((fields[index] as string).toLowerCase() === name) return fields[index + 1];
  return undefined;
}

/** Whether a request brings what a browser sends for a form. */
export function isForm({ fields }: Pick<PageRequest, 'fields'>): boolean {
  return /^application\/x-www-form-urlencoded\s*(;|$)/i.test(fieldOf(fields, 'content-type') ?? '');
}

/** What a form brings; nothing where it is none. */
export function readForm(request: Pick<PageRequest, 'fields' | 'body'>): URLSearchParams {
  return isForm(request) ? new URLSearchParams(Buffer.from(request.body).toString('utf8')) : new URLSearchParams();
}

/** Why a request that changes something may come from another origin's page; undefined when it does not. Clients that are no browsers send neither field. */
export function crossOrigin({ fields, host }: Pick<PageRequest, 'fields' | 'host'>): string | undefined {
  const origin = fieldOf(fields, 'origin');
  const authority = fieldOf(fields, 'host') ?? host;
  if (origin !== undefined && origin.toLowerCase() !== `https://${authority.toLowerCase()}`) return `a form of ${origin.slice(0, 200)}`;
  const site = fieldOf(fields, 'sec-fetch-site');
  return site === undefined || site === 'same-origin' ? undefined : `a form that a browser calls ${site.slice(0, 40)}`;
}
