import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Config } from '../config/schema.ts';
import type { Realm } from '../config/snapshot.ts';
import type { AuthorityFiles } from '../identity/authorities.ts';
import { NO_TRANSFERS, transferred, type TransferView } from '../identity/people.ts';
import { compileRoles, identify } from '../identity/roles.ts';
import { compileToldScopes } from '../identity/told-scopes.ts';
import { parseCertificate, type Certificate } from '../pki/certificate.ts';
import { createPool, validatePath, withIntermediates, type CertificatePool, type PathVerdict } from '../pki/path.ts';
import type { Admission, KnownAdmission, RefusedAdmission } from '../policy/facts.ts';
import { certificatesToCheck, combineStatuses, decideStatus, type Status } from '../revocation/status.ts';
import type { RevocationView } from '../revocation/view.ts';
import { currentEpoch, type DenyTable } from '../store/deny-table.ts';
import { deniedCertificate, deniedClient } from './denied.ts';
import { searchIssuers, type IssuerSearch } from './missing-issuers.ts';
import { gatherStatements, type Question, type Statements } from './statements.ts';

/** What a connection shows of its client. */
export interface Peer {
  /** DER of the leaf; undefined when none was sent. */
  readonly leaf: Uint8Array | undefined;
  /** Set when the TLS library found a signature wrong or could not decode a certificate: then nothing we find lets it in. */
  readonly fault?: string | undefined;
  /** Further certificates of a full handshake, as DER; read only when the path needs them. */
  intermediates(): readonly Uint8Array[];
}

export interface AdmissionOffice {
  /**
   * Takes a peer's admission under the trust of a server name ('' is the default). Depends on the leaf's bytes and our own
   * indexes alone, so that a resumed session is judged like a full handshake. A promise only when a responder, a distribution point or the
   * host of an issuer's certificate must be asked.
   */
  admit(peer: Peer, name: string): Admission | Promise<Admission>;
  /** Whether an admission still stands. */
  stands(admission: Admission): boolean;
  /** What the deny list has of a client that was let in, in words: its certificates, or its id; undefined when nothing. */
  denial(held: KnownAdmission): string | undefined;
  /** Intermediates that clients have brought so far, by realm. */
  learnt(): LearntIntermediates;
  /** The latest admissions of certificates that were let in, open connections or not, each with its realm. */
  known(): readonly (readonly [realm: string, KnownAdmission])[];
  /** The certificates that refer to trust under a name: two names with the same trust are one. */
  realmOf(name: string): string;
  /** A certificate that was shown lately, by its SHA-256; undefined where none is remembered. */
  certificate(sha256: string): Uint8Array | undefined;
}

/** By the name of a realm. */
export type LearntIntermediates = ReadonlyMap<string, readonly Certificate[]>;

export interface AdmissionOptions {
  readonly config: Config;
  readonly realms: readonly Realm[];
  /** The CA certificates that roles and trust domains are bound to. */
  readonly authorities: AuthorityFiles;
  /** Names under which another one's trust holds. */
  readonly aliases?: ReadonlyMap<string, string>;
  readonly deny: DenyTable;
  readonly revocation: RevocationView;
  /** Hosts that missing issuers may be fetched from, as `client_auth.fetch_intermediates.from` has them; absent: none. */
  readonly fetchFrom?: readonly string[];
  /** Who has come to other roles since, as of now; absent: nobody. */
  readonly transfers?: () => TransferView;
  /** What the office of before has learnt: without it a resumed connection, which brings no intermediates, would not outlive a reload. */
  readonly learnt?: LearntIntermediates;
  readonly now: () => number;
}

/** Octets that cached leaves may hold in memory, about: strangers bring leaves too, and a large one is a thousand times a small one. Of their number nothing is said: room for so many would be taken at once. */
const LEAVES_WEIGHT = 32 * 1024 * 1024;
/** A client's certificate is a few kilobytes; a larger one is made to cost us. */
const LARGEST_LEAF = 16 * 1024;
const LARGEST_INTERMEDIATE = 16 * 1024;
const INTERMEDIATES = 1_000;
const LEARNT = 256;
/** How soon an unknown status, or a refusal that may be lifted, is looked at again. */
const RETRY_MS = 5_000;

/** Detours around revoked CAs before the refusal stands. */
const MOST_DETOURS = 4;

/** In hex. */
const SHA256_LENGTH = 64;

type Taken = KnownAdmission | RefusedAdmission;
type ValidPath = Extract<PathVerdict, { kind: 'valid' }>;

/** `brought`: with certificates that only this peer has shown or named so far. */
type Judged = (ValidPath & { readonly brought: boolean }) | RefusedAdmission;

/** What is judged: a leaf that a peer showed under a realm's trust. */
interface Case {
  readonly leaf: Certificate;
  readonly peer: Peer;
  readonly realm: string;
  readonly epoch: number;
}

interface Leaf {
  readonly certificate: Certificate;
  readonly sha256: string;
}

/** Makes the admission office of one listener for one snapshot; a reload makes a new one. */
export function createAdmissionOffice(options: AdmissionOptions): AdmissionOffice {
  const { config, deny, now } = options;
  const roles = compileRoles(config, options.authorities);
  const scopes = compileToldScopes(config);
  const leaves = new LRUCache<string, Leaf | Error>({ maxSize: LEAVES_WEIGHT, sizeCalculation: (leaf) => (leaf instanceof Error ? 1_024 : weightOf(leaf.certificate)) });
  const admissions = new LRUCache<string, Taken>({ maxSize: LEAVES_WEIGHT, sizeCalculation: (taken) => (taken.leaf === undefined ? 1_024 : weightOf(taken.leaf)) });
  /** Path verdicts, which no revocation changes: what is judged again when the epoch moves is the status alone. */
  const paths = new LRUCache<string, { readonly valid: ValidPath; readonly pool: CertificatePool }>({ maxSize: LEAVES_WEIGHT, sizeCalculation: ({ valid }) => weightOf(valid.path[0] as Certificate) });
  const intermediates = new LRUCache<string, Certificate | Error>({ max: INTERMEDIATES, maxSize: LEAVES_WEIGHT, sizeCalculation: (one) => (one instanceof Error ? 1_024 : weightOf(one)) });
  const pools = new Map<string, CertificatePool>();
  const learnt = new Map<string, Map<string, Certificate>>();
  for (const realm of options.realms) {
    const pool = createPool(realm.anchors.map(parseCertificate), realm.intermediates.map(parseCertificate));
    const kept = stillLeading(options.learnt?.get(realm.name) ?? [], pool, now());
    learnt.set(realm.name, new Map(kept.map((certificate) => [certificate.sha256, certificate])));
    pools.set(realm.name, withIntermediates(pool, kept));
  }
  const fetchFrom = { from: options.fetchFrom ?? [], allowLocal: config.revocation.allow_local };
  const realmOf = (name: string): string => {
    const held = options.aliases?.get(name) ?? name;
    return pools.has(held) ? held : '';
  };

  function admit(peer: Peer, name: string): Admission | Promise<Admission> {
    if (peer.leaf === undefined) return { kind: 'anonymous' };
    const realm = realmOf(name);
    const sha256 = hash('sha256', peer.leaf, 'hex');
    const key = `${sha256} ${realm}`;
    const known = admissions.get(key);
    if (known !== undefined && peer.fault === undefined && stands(known) && !mayHelp(known, peer)) return known;
    const epoch = currentEpoch(deny);
    if (peer.leaf.length > LARGEST_LEAF) return refuse('bad_request', `a certificate of ${peer.leaf.length} octets`, epoch, Infinity);
    const leaf = readLeaf(sha256, peer.leaf);
    if (leaf instanceof Error) return refuse('bad_request', leaf.message, epoch, Infinity);
    if (peer.fault !== undefined) return { ...refuse('signature_invalid', `the TLS library says ${peer.fault}`, epoch, Infinity), leaf: leaf.certificate };
    const keep = (admission: Taken): Admission => {
      admissions.set(key, admission);
      return admission;
    };
    const admission = take({ leaf: leaf.certificate, peer, realm, epoch }, new Set());
    return admission instanceof Promise ? admission.then(keep) : keep(admission);
  }

  /** Path, then status. Where a CA of the path is revoked, a cross-signed path around it may still stand. */
  function take(case_: Case, avoid: ReadonlySet<string>, before?: RefusedAdmission): Taken | Promise<Taken> {
    const judged = judgePath(case_, avoid);
    if (judged.kind === 'valid') return takeValid(case_, judged, avoid);
    if (before !== undefined) return before;
    const fetched = judged.reason === 'untrusted_issuer' ? fetchPath(case_) : undefined;
    return fetched?.then((found) => (found.kind === 'valid' ? takeValid(case_, found, avoid) : found)) ?? judged;
  }

  function takeValid(case_: Case, judged: ValidPath & { readonly brought: boolean }, avoid: ReadonlySet<string>): Taken | Promise<Taken> {
    const admission = judgeStatus(judged, case_.epoch);
    const around = (taken: Taken): Taken | Promise<Taken> => {
      if (taken.kind === 'known' && taken.status.kind === 'good' && judged.brought) learn(case_.realm, taken.path.slice(1, -1));
      if (taken.kind === 'known' || taken.revoked === undefined || taken.revoked === case_.leaf.sha256 || avoid.size >= MOST_DETOURS) return taken;
      return take(case_, new Set([...avoid, taken.revoked]), taken);
    };
    return admission instanceof Promise ? admission.then(around) : around(admission);
  }

  /** Each parsed once: a stranger's garbage among the intermediates helps nobody to a path, and must not cost one either. */
  function parseAll(ders: readonly Uint8Array[]): Certificate[] {
    return ders.filter((der) => der.length <= LARGEST_INTERMEDIATE).flatMap((der) => {
      const key = hash('sha256', der, 'hex');
      let one = intermediates.get(key);
      if (one === undefined) {
        try {
          one = parseCertificate(Uint8Array.from(der));
        } catch (error) {
          one = error as Error;
        }
        intermediates.set(key, one);
      }
      return one instanceof Error ? [] : [one];
    });
  }

  function readLeaf(sha256: string, der: Uint8Array): Leaf | Error {
    let leaf = leaves.get(sha256);
    if (leaf === undefined) {
      try {
        // Copied: what the TLS layer hands out is a view into a larger buffer.
        leaf = { certificate: parseCertificate(Uint8Array.from(der)), sha256 };
      } catch (error) {
        leaf = error as Error;
      }
      leaves.set(sha256, leaf);
    }
    return leaf;
  }

  function judgePath(case_: Case, avoid: ReadonlySet<string>): Judged {
    const key = `${case_.leaf.sha256} ${case_.realm}`;
    const pool = pools.get(case_.realm) as CertificatePool;
    const remembered = avoid.size === 0 ? paths.get(key) : undefined;
    if (remembered !== undefined && remembered.pool === pool && now() < remembered.valid.validUntil) return { ...remembered.valid, brought: false };
    const result = validate(case_, avoid, []);
    if (result.kind === 'valid') {
      if (avoid.size === 0) paths.set(key, { valid: result, pool });
      return { ...result, brought: false };
    }
    const brought = parseAll(case_.peer.intermediates());
    return brought.length === 0 ? refusePath(case_, result) : judgeWith(case_, avoid, brought);
  }

  function judgeWith(case_: Case, avoid: ReadonlySet<string>, more: readonly Certificate[]): Judged {
    const result = validate(case_, avoid, more);
    return result.kind === 'valid' ? { ...result, brought: true } : refusePath(case_, result);
  }

  function validate({ leaf, realm }: Case, avoid: ReadonlySet<string>, more: readonly Certificate[]): PathVerdict {
    const pool = withIntermediates(pools.get(realm) as CertificatePool, more);
    return validatePath(leaf, pool, { now: now(), skew: config.revocation.skew, purpose: 'client', avoid });
  }

  function refusePath({ leaf, epoch }: Case, { reason, detail }: Extract<PathVerdict, { kind: 'invalid' }>): RefusedAdmission {
    return { ...refuse(reason, detail, epoch, now() + RETRY_MS), leaf };
  }

  /** Goes on with issuers from where certificates say that they are; undefined when there is nowhere to ask. */
  function fetchPath(case_: Case): Promise<Judged> | undefined {
    if (fetchFrom.from.length === 0) return undefined;
    const search = searchIssuers(case_.leaf, parseAll(case_.peer.intermediates()), fetchFrom, (url) => options.revocation.fetchIssuers(url));
    return search.hasMore() ? climb(case_, search) : undefined;
  }

  async function climb(case_: Case, search: IssuerSearch): Promise<Judged> {
    const judged = judgeWith(case_, new Set(), await search.fetchMore());
    if (judged.kind === 'valid' || judged.reason !== 'untrusted_issuer') return judged;
    return search.hasMore() ? climb(case_, search) : { ...judged, detail: [judged.detail, ...search.failures].join('; ') };
  }

  // Kept, since a resumption on another connection brings no intermediates; but only what led a client in: a refused one could
  // bring a CA's revoked certificate into everybody's paths.
  function learn(realm: string, certificates: readonly Certificate[]): void {
    const known = learnt.get(realm) ?? new Map<string, Certificate>();
    learnt.set(realm, known);
    const fresh = certificates.filter((certificate) => !known.has(certificate.sha256));
    if (fresh.length === 0 || known.size >= LEARNT) return;
    for (const certificate of fresh) known.set(certificate.sha256, certificate);
    pools.set(realm, withIntermediates(pools.get(realm) as CertificatePool, fresh));
  }

  function judgeStatus(valid: ValidPath, epoch: number): Taken | Promise<Taken> {
    const { path } = valid;
    const denied = deniedCertificate(deny, path);
    if (denied !== undefined) {
      const refused = refuse('revoked_denylist', `the certificate with serial ${denied.serial} is on the deny list`, epoch, Infinity);
      return { ...refused, leaf: path[0] as Certificate, path, revoked: denied.sha256 };
    }
    const questions = certificatesToCheck(path, config.revocation.check);
    const statements = gatherStatements(questions, { sources: config.revocation.sources, revocation: options.revocation, now });
    return statements instanceof Promise ? statements.then((said) => conclude(valid, questions, said, epoch)) : conclude(valid, questions, statements, epoch);
  }

  function conclude(valid: ValidPath, questions: readonly Question[], statements: Statements, epoch: number): Taken {
    const { path, validUntil, policies } = valid;
    const leaf = path[0] as Certificate;
    const all = statements.flat();
    const statuses = statements.map((said) => decideStatus(said));
    const status: Status = combineStatuses(statuses);
    if (status.kind === 'revoked') {
      const reason = status.source === 'crl' ? 'revoked_crl' : status.source === 'ocsp' ? 'revoked_ocsp' : 'revoked_denylist';
      const revoked = questions[statuses.indexOf(status)]?.certificate.sha256;
      return { ...refuse(reason, status.detail, epoch, now() + RETRY_MS), leaf, path, statements: all, ...(revoked === undefined ? {} : { revoked }) };
    }
    const { identity: given } = identify({ path, policies }, roles);
    const identity = given === undefined ? undefined : transferred(given, options.transfers?.() ?? NO_TRANSFERS, roles);
    // As whom the certificate names, and as who that is by now: who was transferred leaves all the same.
    const denied = given === undefined || identity === undefined ? undefined : deniedClient({ deny, scopes }, leaf, [given, identity]);
    if (denied !== undefined) return { ...refuse('revoked_denylist', denied, epoch, Infinity), leaf, path, statements: all, revoked: leaf.sha256 };
    return {
      kind: 'known', leaf, path, policies, status, statements: all, epoch,
      ...(identity === undefined ? {} : { identity }),
      validUntil: Math.min(validUntil, status.kind === 'good' ? status.validUntil : now() + RETRY_MS),
    };
  }

  function stands(admission: Admission): boolean {
    return admission.kind === 'anonymous' || (admission.epoch === currentEpoch(deny) && now() < admission.validUntil);
  }

  function denial({ leaf, path, identity }: KnownAdmission): string | undefined {
    const certificate = deniedCertificate(deny, path);
    if (certificate !== undefined) return `the certificate with serial ${certificate.serial} is on the deny list`;
    return identity === undefined ? undefined : deniedClient({ deny, scopes }, leaf, [identity]);
  }

  function latest(): readonly (readonly [string, KnownAdmission])[] {
    // A key is the certificate's SHA-256, then its realm.
    return [...admissions.entries()].flatMap(([key, held]) => (held.kind === 'known' ? [[key.slice(SHA256_LENGTH + 1), held] as const] : []));
  }

  function certificate(sha256: string): Uint8Array | undefined {
    const leaf = leaves.peek(sha256);
    return leaf === undefined || leaf instanceof Error ? undefined : leaf.certificate.der;
  }

  return { admit, stands, denial, realmOf, learnt: () => new Map([...learnt].map(([realm, known]) => [realm, [...known.values()]])), known: latest, certificate };
}

function refuse(reason: RefusedAdmission['reason'], detail: string, epoch: number, validUntil: number): RefusedAdmission {
  return { kind: 'refused', reason, detail, epoch, validUntil };
}

/** Those that still lead to an anchor: where trust has changed, the others would take the place of new ones. */
function stillLeading(certificates: readonly Certificate[], pool: CertificatePool, now: number): readonly Certificate[] {
  const all = withIntermediates(pool, certificates);
  return certificates.filter((certificate) => validatePath(certificate, all, { now, purpose: 'any' }).kind === 'valid');
}

/** What a certificate weighs once it is parsed, in octets, about: measured at some eighteen times its DER. */
function weightOf({ der }: Certificate): number {
  return 1_024 + 18 * der.length;
}

/** Whether a refusal was for want of intermediates, and this peer brings some. */
function mayHelp(known: Taken, peer: Peer): boolean {
  return known.kind === 'refused' && known.reason === 'untrusted_issuer' && peer.intermediates().length > 0;
}
