import { join } from 'node:path';
import type { Redis } from 'ioredis';
import type { AuditRecord } from '../audit/record.ts';
import type { Config } from '../config/schema.ts';
import type { Snapshot } from '../config/snapshot.ts';
import type { SessionFinding } from '../policy/facts.ts';
import type { Factor, FactorReason } from '../policy/second-factor.ts';
import type { Bearer } from '../policy/session.ts';
import { siteOf } from '../policy/webauthn.ts';
import { CellsError, openLocalCells } from '../store/cells.ts';
import { openEnrolments, type Enrolment } from '../store/enrolments.ts';
import { createKeyOwners } from '../store/key-owners.ts';
import { ownKey } from '../store/own-key.ts';
import { createKeyring } from '../store/sealing.ts';
import { openSessions } from '../store/sessions.ts';
import { createSharedCells } from '../store/shared-cells.ts';
import type { PageAnswer, PageRequest, SessionQuestion } from '../forward/client.ts';
import { createPages } from './answer-page.ts';
import { createFactors, type Factors } from './factors.ts';
import { createSalting, type ScryptCost } from './salted.ts';
import { createSecurityKeys } from './security-keys.ts';
import { openSmsWebhook, type SmsWebhook } from './sms-webhook.ts';
import { createTrial } from './trial.ts';

/** Second factors of one gateway: kept in its main thread, and with replicas in what they share. */
export interface SecondFactor {
  /** What a request's session is worth. Never rejects: what cannot be found out is refused. */
  find(token: string | undefined, bearer: Bearer): Promise<SessionFinding>;
  /** What the sessions are worth by now that something was let in on; undefined where it cannot be found out. */
  again(questions: readonly SessionQuestion[]): Promise<readonly (SessionFinding | undefined)[]>;
  answerPage(request: PageRequest): Promise<PageAnswer>;
  /** For staff. */
  readonly factors: Pick<Factors, 'invite' | 'registerPhone' | 'reset' | 'removeKey' | 'unlock' | 'status' | 'list'>;
  /** Takes what a new configuration says; keys stay those of the start. */
  adopt(snapshot: Snapshot): void;
  close(): void;
}

export interface SecondFactorOptions {
  readonly snapshot: Snapshot;
  /** The state directory, absolute. */
  readonly state: string;
  readonly shared: { readonly redis: Redis; readonly prefix: string } | undefined;
  readonly record: (record: AuditRecord) => Promise<void>;
  readonly count: (factor: Factor | 'invitation', result: 'good' | FactorReason) => void;
  /** The port of a listener; undefined while it has none. */
  readonly port: (listener: string) => number | undefined;
  /** What a guess at a card number costs; default: enough. */
  readonly cardCost?: ScryptCost;
  readonly now: () => number;
  readonly warn: (detail: string) => void;
}

/** Enrolments that one gateway keeps, and sessions with what else passes. */
const MOST_ENROLMENTS = 1_000_000;
const MOST_PASSING = 1_000_000;

/** Opens what is kept of second factors. Throws when the files in the state directory cannot be opened with the configured keys. */
export function openSecondFactor({ snapshot: first, state, shared, record, count, port, cardCost, now, warn }: SecondFactorOptions): SecondFactor {
  const keyring = createKeyring(keysOf(first, state));
  const kept = openLocalCells({ file: join(state, 'factors.db'), keyring, now, durable: true, most: MOST_ENROLMENTS });
  // With replicas nothing that passes is kept here: two truths about a session would be one too many.
  const passing = shared === undefined ? openLocalCells({ file: join(state, 'sessions.db'), keyring, now, durable: false, most: MOST_PASSING }) : undefined;
  const sharedCells = shared === undefined ? undefined : createSharedCells({ ...shared, keyring });
  const cells = sharedCells ?? passing as NonNullable<typeof passing>;
  let current = settingsOf(first.config);
  let webhook = openWebhook(first);

  const enrolments = openEnrolments({ local: kept, shared: sharedCells, now });
  const sessions = openSessions({ cells, limits: () => current.limits, now });
  const trial = createTrial({ cells, record, count, now });
  const owners = createKeyOwners(sharedCells ?? kept);
  const factors = createFactors({
    trial, enrolments, owners, sessions, salting: createSalting(cardCost), record, now,
    algorithm: () => current.algorithm, send: (message) => webhook?.send(message) ?? Promise.resolve(false),
  });
  const keys = createSecurityKeys({ trial, enrolments, owners, sessions, now, settings: () => current.keys });
  const answerPage = createPages({
    factors, keys, sessions, settings: () => current, siteOf: (host, listener) => siteOf(host.toLowerCase(), port(listener), current.sites), now, warn,
  });
  // What the store holds may have been lost while it was away.
  const claimKeys = async (enrolment: Enrolment): Promise<void> => {
    for (const { id } of enrolment.keys ?? []) await owners.claim(id, enrolment);
  };
  const connected = (): void => void enrolments.synchronize(claimKeys).catch((error: Error) => warn(`enrolments and the shared store could not be compared: ${error.message}`));
  if (shared?.redis.status === 'ready') connected();
  shared?.redis.on('ready', connected);

  function openWebhook({ secondFactor }: Snapshot): SmsWebhook | undefined {
    return secondFactor?.sms === undefined ? undefined : openSmsWebhook(secondFactor.sms, now, warn);
  }

  return {
    async find(token, bearer) {
      try {
        return await sessions.find(token, bearer);
      } catch (error) {
        if (!(error instanceof CellsError)) throw error;
        return { kind: 'refused', reason: 'factors_unavailable', detail: error.message };
      }
    },
    // Whoever is in already stays while the store is away: nothing can be ended in it, either.
    again: (questions) => Promise.all(questions.map(({ token, ...bearer }) => sessions.again(token, bearer).catch((error: unknown) => {
      if (!(error instanceof CellsError)) throw error;
      return undefined;
    }))),
    answerPage,
    factors,
    adopt(snapshot) {
      current = settingsOf(snapshot.config);
      webhook?.close();
      webhook = openWebhook(snapshot);
    },
    close() {
      shared?.redis.off('ready', connected);
      webhook?.close();
      passing?.close();
      kept.close();
    },
  };
}

/** The configured keys, the gateway's own before keys of before where none is configured to seal under. */
function keysOf({ config, secondFactor }: Snapshot, state: string): readonly Uint8Array[] {
  const configured = secondFactor?.keys ?? [];
  return config.second_factor.key_file === undefined ? [ownKey(state), ...configured] : configured;
}

function settingsOf({ second_factor: { session, totp, sms, webauthn }, routes }: Config) {
  const asked = new Map<string, Set<Factor>>();
  for (const { allow, require, break_glass } of routes) {
    for (const factor of require.second_factor ?? []) for (const role of [...allow, ...break_glass?.roles ?? []]) asked.set(role, (asked.get(role) ?? new Set()).add(factor));
  }
  return {
    limits: session, issuer: totp.issuer, algorithm: totp.algorithm === 'sha256' ? 'SHA256' : 'SHA1',
    keys: { name: webauthn.name ?? totp.issuer, verification: webauthn.user_verification, timeout: webauthn.timeout },
    sites: { rp_ids: webauthn.rp_ids, origins: webauthn.origins },
    asked: (roles: ReadonlySet<string>): ReadonlySet<Factor> => new Set([...roles].flatMap((role) => [...asked.get(role) ?? []]).filter((factor) => factor !== 'sms' || sms !== undefined)),
  } as const;
}
