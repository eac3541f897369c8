import type { PageAnswer } from '../forward/client.ts';
import type { Factor, Refusal } from '../policy/second-factor.ts';
import type { FoundSession, Sessions } from '../store/sessions.ts';
import { CHALLENGE, COMMON, EMPTY, json, retryAfter } from './answers.ts';
import { readInput, type Asking } from './asking.ts';
import type { Factors } from './factors.ts';
import type { PageSettings } from './answer-page.ts';
import type { KeyPlace, SecurityKeys } from './security-keys.ts';
import type { StepUp } from './step-up.ts';
import { notEnrolled, type Outcome } from './trial.ts';

/** What programs call, and the script of our pages: JSON in, JSON out; below the prefix of the pages. */
export const CALLS: ReadonlySet<string> = new Set(['token', 'webauthn/options', 'webauthn/enrol']);

export interface ApiOptions {
  readonly factors: Factors;
  readonly keys: SecurityKeys;
  readonly sessions: Sessions;
  readonly settings: () => PageSettings;
  readonly stepUp: StepUp;
  readonly now: () => number;
}

/** Answers calls of programs. A refused one says no more than that a factor is needed, or for how long not to try. */
export function createApi({ factors, keys, sessions, settings, stepUp, now }: ApiOptions): (asking: Asking) => Promise<PageAnswer> {
  function refusedCall(asking: Asking, refusal: Refusal): PageAnswer {
    asking.refusal = refusal;
    const locked = refusal.reason === 'locked';
    return json(locked ? 429 : 401, { code: locked ? 'rate_limited' : 'step_up_required' }, locked ? retryAfter(refusal, now()) : CHALLENGE);
  }

  /** A bearer token that is bound to the certificate (RFC 8705 section 3). */
  async function tokenFor(asking: Asking, before: FoundSession | undefined, factor: Factor, verdict: Outcome, status = 200): Promise<PageAnswer> {
    if (verdict.kind === 'refused') return refusedCall(asking, verdict);
    const opened = await stepUp.shown(asking, before, factor, verdict.basis);
    if (opened.kind === 'refused') return refusedCall(asking, opened);
    return json(status, {
      access_token: opened.token, token_type: 'Bearer', expires_in: Math.floor(settings().limits.lifetime / 1000),
      cnf: { 'x5t#S256': Buffer.from(asking.bearer.certificate, 'hex').toString('base64url') },
    });
  }

  async function place(asking: Asking): Promise<KeyPlace | Refusal> {
    const { request: { host, identity }, bearer: { certificate }, site, person } = asking;
    if (site !== undefined && settings().asked(identity.roles).has('webauthn')) return { site, certificate };
    const refusal = site === undefined ? { ...notEnrolled(`no RP id is for ${host}`), reason: 'webauthn_rp' as const } : notEnrolled('no route asks for security keys');
    await factors.note(person, { result: 'denied', reason: refusal.reason, detail: refusal.detail });
    return refusal;
  }

  async function token(asking: Asking): Promise<PageAnswer> {
    const { request, bearer, person } = asking;
    const { found } = await sessions.look(asking.token, bearer);
    if (request.method === 'DELETE') {
      if (found === undefined) return json(401, { code: 'step_up_required' }, CHALLENGE);
      await sessions.end(found.token, 'signed_out');
      await factors.note(person, { result: 'done', detail: 'token given back' });
      return { status: 204, fields: COMMON, body: EMPTY };
    }
    const given = readInput(request) ?? {};
    const shown = ['code', 'recovery_code', 'webauthn'].filter((name) => given[name] !== undefined);
    const [code, recoveryCode, answer] = [given['code'], given['recovery_code'], given['webauthn']];
    if (shown.length === 1 && answer !== undefined) {
      const where = await place(asking);
      return 'reason' in where ? refusedCall(asking, where) : tokenFor(asking, found, 'webauthn', await keys.sign(person, where, answer));
    }
    if (shown.length !== 1 || typeof (code ?? recoveryCode) !== 'string') return json(400, { code: 'bad_request', detail: 'expected one of code, recovery_code and webauthn' });
    return tokenFor(asking, found, 'totp', typeof code === 'string' ? await factors.totp(person, code) : await factors.recovery(person, recoveryCode as string));
  }

  /** What a key is asked with: to sign in, or to be enrolled on an invitation that is brought along, or that the pages were shown. */
  async function options(asking: Asking): Promise<PageAnswer> {
    const { request, bearer, person } = asking;
    const { for: purpose = 'sign-in', invitation } = readInput(request) ?? {};
    if ((purpose !== 'sign-in' && purpose !== 'enrol') || (invitation !== undefined && typeof invitation !== 'string')) return json(400, { code: 'bad_request', detail: 'expected for: sign-in, or enrol with an invitation' });
    const where = await place(asking);
    if ('reason' in where) return refusedCall(asking, where);
    if (purpose === 'sign-in') {
      const asked = await keys.askToSign(person, where);
      return asked.kind === 'good' ? json(200, asked.options) : refusedCall(asking, asked);
    }
    const invited = invitation === undefined ? await shownInvitation(asking, bearer) : await factors.invitation(person, invitation);
    if (invited.kind === 'refused') return refusedCall(asking, invited);
    const asked = await keys.askToEnrol(person, where, invited.enrolling.invitation);
    return asked.kind === 'good' ? json(200, asked.options) : refusedCall(asking, asked);
  }

  async function shownInvitation(asking: Asking, bearer: Asking['bearer']): Promise<{ readonly kind: 'good'; readonly enrolling: { readonly invitation: string } } | Refusal> {
    const { found } = await sessions.look(asking.token, bearer);
    if (found?.session.enrolling !== undefined) return { kind: 'good', enrolling: found.session.enrolling };
    const refusal: Refusal = { kind: 'refused', reason: 'invitation_wrong', detail: 'no invitation' };
    await factors.note(asking.person, { result: 'denied', reason: refusal.reason, detail: refusal.detail });
    return refusal;
  }

  async function enrol(asking: Asking): Promise<PageAnswer> {
    const { request, person } = asking;
    const given = readInput(request);
    const name = given?.['name'] ?? '';
    if (given === undefined || typeof name !== 'string') return json(400, { code: 'bad_request', detail: 'expected webauthn, and a name' });
    const where = await place(asking);
    if ('reason' in where) return refusedCall(asking, where);
    const { found } = await sessions.look(asking.token, asking.bearer);
    return tokenFor(asking, found, 'webauthn', await keys.enrol(person, where, given['webauthn'], name), 201);
  }

  return (asking) => {
    switch (asking.context.page) {
      case 'webauthn/options': return options(asking);
      case 'webauthn/enrol': return enrol(asking);
      default: return token(asking);
    }
  };
}
