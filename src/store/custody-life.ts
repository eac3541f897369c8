/** Where a key or a device is in its life. `lost`: its certificates are revoked already; `out_of_service`: it is back for good; `revoked`: it is back for good, and its certificates are revoked. */
export const CUSTODY_STATES = ['handed_out', 'returned', 'lost', 'out_of_service', 'revoked', 'written_off', 'destroyed'] as const;
export type CustodyState = (typeof CUSTODY_STATES)[number];

export const CUSTODY_STEPS = ['give', 'return', 'lost', 'recover', 'revoke', 'write_off', 'destroy'] as const;
export type CustodyStep = (typeof CUSTODY_STEPS)[number];

type Before = CustodyState | 'unknown';

/** Every step that is allowed, by the state before it. Nothing is destroyed that is not back, and nothing that could still be used to get in. */
const CUSTODY: Readonly<Record<Before, Readonly<Partial<Record<CustodyStep, CustodyState>>>>> = {
  unknown: { give: 'handed_out' },
  handed_out: { return: 'returned', lost: 'lost' },
  returned: { give: 'handed_out', recover: 'out_of_service', lost: 'lost' },
  lost: { recover: 'revoked', write_off: 'written_off' },
  out_of_service: { revoke: 'revoked' },
  revoked: { destroy: 'destroyed' },
  // It turns up after all.
  written_off: { recover: 'revoked' },
  destroyed: {},
};

const FIRST: Readonly<Record<Before, string>> = {
  unknown: 'it was never handed out: wardgate holder give', handed_out: 'it has to be returned first, or be lost: wardgate holder return', returned: 'it has to be taken out of service first: wardgate holder recover',
  lost: 'it has to be found first (wardgate holder recover), or be written off', out_of_service: 'its certificates have to be revoked first: wardgate holder revoke', revoked: 'only destruction follows: wardgate holder destroy',
  written_off: 'it would have to be found first: wardgate holder recover', destroyed: 'nothing follows destruction',
};

/** What a step leads to; `detail` of a refusal says what has to come first. */
export function takeCustodyStep(before: Before, step: CustodyStep): { readonly kind: 'allowed'; readonly state: CustodyState } | { readonly kind: 'refused'; readonly detail: string } {
  const state = CUSTODY[before][step];
  return state === undefined ? { kind: 'refused', detail: `${before === 'unknown' ? 'it is not known here' : `it is ${before.replaceAll('_', ' ')}`}; ${FIRST[before]}` } : { kind: 'allowed', state };
}
