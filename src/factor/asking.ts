import type { PageAnswer, PageRequest } from '../forward/client.ts';
import { fieldOf, isForm, readForm } from '../forward/forms.ts';
import { sessionToken } from '../forward/session-token.ts';
import { safeReturn, type Factor } from '../policy/second-factor.ts';
import type { Bearer } from '../policy/session.ts';
import type { Site } from '../policy/webauthn.ts';
import { PAGES, type PageContext } from './page.ts';
import type { Person } from './trial.ts';
import { chooseLanguage } from '../forward/language.ts';
import { WORDS, type Words } from './words.ts';

/** What a request carries, read once. */
export interface Asking {
  readonly request: PageRequest;
  readonly bearer: Bearer;
  readonly person: Person;
  readonly context: PageContext;
  readonly words: Words;
  readonly form: URLSearchParams;
  readonly token: string | undefined;
  /** What the route takes that somebody comes from; undefined where nobody came from one. It only leaves out what would not help. */
  readonly wanted: ReadonlySet<Factor> | undefined;
  /** What security keys take us for; undefined where none can be used. */
  readonly site: Site | undefined;
  /** Why it was refused, for the record of the request. */
  refusal: PageAnswer['refusal'];
}

/** Reads a request for a page. */
export function readRequest(request: PageRequest, site: Site | undefined): Asking {
  const { id, fields, identity, certificate, address, listener } = request;
  const subject = { role: identity.role, id: identity.id };
  const query = new URLSearchParams(request.query);
  const form = readForm(request);
  const wanted = readWanted(form.get('for') ?? query.get('for') ?? '');
  const language = chooseLanguage(form.get('lang') ?? query.get('lang') ?? undefined, fieldOf(fields, 'accept-language'));
  return {
    request, form, site, refusal: undefined, words: WORDS[language], token: sessionToken(fields), bearer: { subject, certificate },
    person: { ...subject, address, trail: { request_id: id, listener, fingerprint: certificate } },
    wanted,
    context: {
      language, id: subject.id, wanted: wanted === undefined ? undefined : [...wanted].join('.'), page: request.path.slice(PAGES.length),
      returnTo: safeReturn(form.get('return') ?? query.get('return') ?? undefined),
    },
  };
}

/** What a client that is no browser sends: JSON or a form. */
export function readInput(request: PageRequest): Readonly<Record<string, unknown>> | undefined {
  const text = Buffer.from(request.body).toString('utf8');
  if (isForm(request)) return Object.fromEntries(new URLSearchParams(text));
  if (!/^application\/json\s*(;|$)/i.test(fieldOf(request.fields, 'content-type') ?? '')) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}

const FACTORS = ['totp', 'sms', 'webauthn'] as const;

function readWanted(text: string): ReadonlySet<Factor> | undefined {
  const named = text.slice(0, 100).split('.');
  const wanted = FACTORS.filter((factor) => named.includes(factor));
  return wanted.length === 0 ? undefined : new Set(wanted);
}
