/**
 * Why the CA did not do something. `not_a_ca`: no such directory, or not whole; `open_to_others`: others can read or write it;
 * `wrong_passphrase`; `locked`: opened without a passphrase; `unknown`: no such request or certificate; `step`: a step before it is
 * missing; `invalid`: what was asked for cannot be given; `key_reused`; `not_authorized`: somebody else has to; `busy`: another
 * process is at it; `tampered`: the event log or the database is not what was written.
 */
export type OfficeCode = 'not_a_ca' | 'open_to_others' | 'wrong_passphrase' | 'locked' | 'unknown' | 'step' | 'invalid' | 'key_reused' | 'not_authorized' | 'busy' | 'tampered';

/** Thrown for everything that a CA refuses; `message` is one sentence for whoever asked. */
export class OfficeError extends Error {
  readonly code: OfficeCode;

  constructor(code: OfficeCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'OfficeError';
    this.code = code;
  }
}
