/**
 * Where a certificate stands in its life, from the request on. `issuing`: its serial number is reserved and the signing under way;
 * `confirmed`: seen working, or somebody said so; `superseded`: renewed, and on the CRL as such.
 */
export const STATES = ['requested', 'approved', 'issuing', 'issued', 'delivered', 'confirmed', 'superseded', 'revoked', 'expired', 'refused', 'destroyed'] as const;
export type State = (typeof STATES)[number];

/** What is done to one. `agree`: one of several who have to approve does. `abandon`: a signing that was cut off is given up, its serial number goes to the CRL. `expire` is done by time alone. */
export const STEPS = ['submit', 'agree', 'approve', 'refuse', 'reserve', 'issue', 'abandon', 'deliver', 'confirm', 'supersede', 'revoke', 'expire', 'destroy'] as const;
export type Step = (typeof STEPS)[number];

/** A certificate that is valid as far as its CA is concerned. */
export const LIVE: ReadonlySet<State> = new Set<State>(['issued', 'delivered', 'confirmed']);

/** Every step that is allowed, by the state before it; what is not here is refused. `submit` alone has none before it. */
const TRANSITIONS: Readonly<Record<State, Readonly<Partial<Record<Step, State>>>>> = {
  requested: { agree: 'requested', approve: 'approved', refuse: 'refused' },
  approved: { refuse: 'refused', reserve: 'issuing' },
  issuing: { issue: 'issued', abandon: 'approved' },
  issued: { deliver: 'delivered', revoke: 'revoked', expire: 'expired' },
  delivered: { confirm: 'confirmed', supersede: 'superseded', revoke: 'revoked', expire: 'expired' },
  confirmed: { supersede: 'superseded', revoke: 'revoked', expire: 'expired' },
  // A key that turns out to be stolen after its renewal is told with that reason.
  superseded: { revoke: 'revoked', destroy: 'destroyed' },
  revoked: { destroy: 'destroyed' },
  // A clock that was ahead for a moment has made it so, and its key may be stolen all the same.
  expired: { revoke: 'revoked', destroy: 'destroyed' },
  refused: {},
  destroyed: {},
};

export type Outcome =
  | { readonly kind: 'allowed'; readonly state: State }
  /** `detail` says what has to come first, or that nothing can. */
  | { readonly kind: 'refused'; readonly detail: string };

/** What a step leads to from a state; `undefined` is the state before there is a request. */
export function take(state: State | undefined, step: Step): Outcome {
  if (state === undefined) return step === 'submit' ? { kind: 'allowed', state: 'requested' } : { kind: 'refused', detail: `${NOUNS[step]} is not possible: there is no request; it has to be submitted first` };
  const next = TRANSITIONS[state][step];
  if (next !== undefined) return { kind: 'allowed', state: next };
  return { kind: 'refused', detail: `${NOUNS[step]} is not possible: it is ${state}; ${firstOf(state, step)}` };
}

const NOUNS: Readonly<Record<Step, string>> = {
  submit: 'a second submission', agree: 'approval', approve: 'approval', refuse: 'refusal', reserve: 'issuing', issue: 'issuing', abandon: 'giving up the signing', deliver: 'delivery', confirm: 'confirmation',
  supersede: 'superseding', revoke: 'revocation', expire: 'expiry', destroy: 'destruction',
};

/** What of the way to a state people do; the rest comes about by itself. */
const WORDS: Readonly<Record<Step, string | undefined>> = {
  submit: 'submitted', agree: undefined, approve: 'approved', refuse: undefined, reserve: 'issued', issue: undefined, abandon: undefined, deliver: 'delivered', confirm: 'confirmed', supersede: undefined,
  revoke: 'revoked', expire: undefined, destroy: 'destroyed',
};

function firstOf(state: State, step: Step): string {
  const way = wayTo(state, step);
  if (way === undefined) return FINAL[state] ?? 'that lies behind it';
  const words = way.flatMap((one) => WORDS[one] ?? []);
  const ending = step === 'destroy' ? ', or have expired,' : '';
  return words.length === 0 ? 'the signing that is under way has to end first' : `it has to be ${words.join(', then ')}${ending} first`;
}

const FINAL: Readonly<Partial<Record<State, string>>> = {
  refused: 'nothing follows a refusal but a new request', destroyed: 'nothing follows destruction', revoked: 'nothing but destruction follows revocation', expired: 'nothing but revocation and destruction follow expiry',
  superseded: 'nothing but revocation and destruction follow that',
};

/** Nobody does these to get somewhere. */
const ASIDE: ReadonlySet<Step> = new Set<Step>(['agree', 'refuse', 'abandon', 'expire', 'supersede', 'destroy']);

/** The shortest way of steps after which `step` is allowed; undefined when none leads there. */
function wayTo(from: State, step: Step): readonly Step[] | undefined {
  const ways = new Map<State, readonly Step[]>([[from, []]]);
  // A Map grows while it is gone through: breadth first.
  for (const [state, way] of ways) {
    if (TRANSITIONS[state][step] !== undefined) return way;
    for (const [next, to] of Object.entries(TRANSITIONS[state]) as [Step, State][]) {
      if (!ASIDE.has(next) && !ways.has(to)) ways.set(to, [...way, next]);
    }
  }
  return undefined;
}
