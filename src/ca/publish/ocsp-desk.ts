import { createHash } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { PkiError } from '../../pki/certificate.ts';
import { parseOcspRequest, type CertId, type OcspRequest } from '../../pki/ocsp-request.ts';
import { integer, nullValue, octetString, oid, sequence } from '../der.ts';
import type { Authority } from '../issue.ts';
import { generateKey, publicKeyBits } from '../keys.ts';
import { failedOcsp, hashNames, signOcsp, type OcspFailure, type OcspStatement } from '../ocsp.ts';
import type { PublishedStatus, PublishSource, ResponderCertificate } from './source.ts';

export interface OcspDeskOptions {
  readonly source: PublishSource;
  readonly now: () => number;
  /** How long an answer holds, ms. Kept ones are signed again at half of it. */
  readonly validity: number;
  /** How long the responder's own certificate is valid, ms; it gets another at half of it. */
  readonly responderValidity: number;
  /** Answers signed for one request each, per second; beyond them it says tryLater. */
  readonly liveRate: number;
}

export interface OcspReply {
  readonly der: Buffer;
  readonly kind: 'kept' | 'signed' | OcspFailure;
  /** Of an answer that others may keep as well. */
  readonly kept?: { readonly thisUpdate: number; readonly nextUpdate: number };
}

/**
 * The desk of an OCSP responder (RFC 6960): answers for every certificate that was issued lie signed ahead (RFC 5019), those to requests with a nonce
 * (RFC 9654) and about serial numbers that were never issued are signed one by one.
 */
export interface OcspDesk {
  answer(request: Uint8Array): Promise<OcspReply>;
  /** Signs what is new, has changed or grows old; how many that were. */
  refresh(): Promise<number>;
}

interface Kept {
  readonly der: Buffer;
  readonly certId: Uint8Array;
  readonly generation: number;
  readonly serial: string;
  readonly status: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
}

interface Issuer {
  readonly generation: number;
  readonly current: boolean;
  readonly authority: Authority;
  /** Hashes of name and key, by the OID of the algorithm. */
  readonly hashes: ReadonlyMap<string, { readonly name: Buffer; readonly key: Buffer }>;
}

interface Delegate {
  readonly generation: number;
  readonly certificate: ResponderCertificate;
  readonly privateKey: KeyObject;
}

/** SHA-1, which RFC 5019 has clients use, and SHA-256: what is signed ahead. Anything else is kept once it was asked for. */
const AHEAD = ['1.3.14.3.2.26', '2.16.840.1.101.3.4.2.1'] as const;

/** A clock that was set back has made what was signed before one of the future, which nobody believes until then. */
const AHEAD_OF_CLOCK = 30_000;

export function createOcspDesk({ source, now, validity, responderValidity, liveRate }: OcspDeskOptions): OcspDesk {
  const kept = new Map<string, Kept>();
  let issuers: readonly Issuer[] = [];
  let delegate: Delegate | undefined;
  let revision: number | undefined;
  let allowance = { tokens: liveRate, at: now() };

  /** The first thing that went wrong: an issuing CA whose key is gone keeps no other from answering. */
  function readIssuers(): unknown {
    let fault: unknown;
    issuers = source.issuers().flatMap(({ generation, state, certificate }) => {
      if (certificate === undefined || state === 'requested') return [];
      let authority: Authority;
      try {
        authority = source.issuer(generation);
      } catch (error) {
        fault ??= error;
        return [];
      }
      const hashes = new Map(Object.entries(hashNames).map(([algorithm, hash]) => [algorithm, {
        name: createHash(hash).update(authority.subject).digest(), key: createHash(hash).update(publicKeyBits(authority.spki)).digest(),
      }]));
      return [{ generation, current: state === 'current', authority, hashes }];
    });
    return fault;
  }

  /** The responder of the current issuing CA is a delegate with a key of this process; a CA that is retired answers itself. */
  async function renewDelegate(): Promise<void> {
    const generation = issuers.find(({ current }) => current)?.generation;
    if (generation === undefined) return;
    const half = delegate === undefined ? 0 : (delegate.certificate.notBefore + delegate.certificate.notAfter) / 2;
    if (delegate?.generation === generation && now() < half && now() >= delegate.certificate.notBefore) return;
    const { publicKey, privateKey } = await generateKey('ec');
    delegate = { generation, privateKey, certificate: await source.issueResponder({ name: 'OCSP responder', publicKey, validity: responderValidity }, { who: 'wardgate ca serve' }) };
  }

  function signerFor(issuer: Issuer): Pick<OcspStatement, 'signedBy' | 'delegated'> {
    if (delegate?.generation !== issuer.generation) return { signedBy: issuer.authority, delegated: false };
    return { signedBy: { ...delegate.certificate, privateKey: delegate.privateKey }, delegated: true };
  }

  /** No answer outlives whoever signed it. */
  function endOf(thisUpdate: number, issuer: Issuer): number {
    return Math.min(thisUpdate + validity, delegate?.generation === issuer.generation ? delegate.certificate.notAfter : issuer.authority.notAfter);
  }

  function issuerOf({ hashOid, issuerNameHash, issuerKeyHash }: CertId): Issuer | undefined {
    return issuers.find(({ hashes }) => {
      const own = hashes.get(hashOid);
      return own !== undefined && own.name.equals(issuerNameHash) && own.key.equals(issuerKeyHash);
    });
  }

  async function keep(certId: Uint8Array, serial: string, issuer: Issuer, status: PublishedStatus): Promise<Kept> {
    const thisUpdate = now();
    const nextUpdate = endOf(thisUpdate, issuer);
    const der = await signOcsp({ about: [{ certId, status }], thisUpdate, nextUpdate, ...signerFor(issuer) });
    const made = { der, certId, generation: issuer.generation, serial, status: textOf(status), thisUpdate, nextUpdate };
    // Revoked while it was being signed: kept, it would be told for as long as it holds.
    if (textOf(source.status(serial, issuer.generation)) === made.status) kept.set(keyOf(certId), made);
    return made;
  }

  function mayWork(): boolean {
    const at = now();
    const tokens = Math.min(liveRate, allowance.tokens + (Math.max(0, at - allowance.at) / 1000) * liveRate);
    if (tokens < 1) return false;
    allowance = { tokens: tokens - 1, at };
    return true;
  }

  async function sign({ certIds, nonce }: OcspRequest, issuer: Issuer): Promise<OcspReply> {
    const about = certIds.map((certId) => ({ certId: certId.der, serial: certId.serial, status: source.status(certId.serial, issuer.generation) }));
    const [only] = about;
    // What was never issued is anybody's guess, and so is how else a CertID could be written (parameters of the hash are free): kept, either would fill the memory.
    if (nonce === undefined && about.length === 1 && only !== undefined && only.status.kind !== 'unknown' && isPlain(certIds[0] as CertId, issuer)) {
      return replyOf(await keep(only.certId, only.serial, issuer, only.status));
    }
    const thisUpdate = now();
    const der = await signOcsp({ about, thisUpdate, nextUpdate: endOf(thisUpdate, issuer), ...(nonce === undefined ? {} : { nonce }), ...signerFor(issuer) });
    return { der, kind: 'signed' };
  }

  return {
    async answer(bytes) {
      const request = read(bytes);
      if (request === undefined) return failure('malformedRequest');
      const [first] = request.certIds;
      const issuer = first === undefined ? undefined : issuerOf(first);
      if (issuer === undefined || request.certIds.some((one) => issuerOf(one) !== issuer)) return failure('unauthorized');
      if (request.nonce === undefined && request.certIds.length === 1 && first !== undefined) {
        const found = kept.get(keyOf(first.der));
        if (found !== undefined && now() < found.nextUpdate && found.thisUpdate <= now() + AHEAD_OF_CLOCK) return replyOf(found);
      }
      return mayWork() ? sign(request, issuer) : failure('tryLater');
    },
    async refresh() {
      const current = source.revision();
      const changed = current !== revision;
      const fault = changed ? readIssuers() : undefined;
      await renewDelegate();
      let signed = 0;
      const at = now();
      if (changed) {
        const live = source.statuses().filter(({ notAfter }) => notAfter > at);
        const known = new Set(live.map(({ generation, serial }) => `${generation} ${serial}`));
        for (const [key, { generation, serial }] of kept) if (!known.has(`${generation} ${serial}`)) kept.delete(key);
        for (const entry of live) {
          const issuer = issuers.find(({ generation }) => generation === entry.generation);
          if (issuer === undefined) continue;
          const status: PublishedStatus = entry.revoked === undefined ? { kind: 'good' } : { kind: 'revoked', ...entry.revoked };
          for (const algorithm of AHEAD) {
            const certId = certIdOf(issuer, algorithm, entry.serial);
            if (kept.get(keyOf(certId))?.status === textOf(status)) continue;
            await keep(certId, entry.serial, issuer, status);
            signed += 1;
          }
        }
      }
      for (const { certId, generation, serial, status, thisUpdate } of [...kept.values()]) {
        const issuer = issuers.find((one) => one.generation === generation);
        if (issuer === undefined) continue;
        const old = at - thisUpdate >= validity / 2 || thisUpdate > at + AHEAD_OF_CLOCK;
        const says = changed || old ? source.status(serial, generation) : undefined;
        if (says === undefined || (textOf(says) === status && !old)) continue;
        await keep(certId, serial, issuer, says);
        signed += 1;
      }
      // Only now: what failed on the way is done again.
      if (fault !== undefined) throw fault;
      revision = current;
      return signed;
    },
  };
}

function read(bytes: Uint8Array): OcspRequest | undefined {
  try {
    return parseOcspRequest(bytes);
  } catch (error) {
    if (error instanceof PkiError) return undefined;
    throw error;
  }
}

function replyOf({ der, thisUpdate, nextUpdate }: Kept): OcspReply {
  return { der, kind: 'kept', kept: { thisUpdate, nextUpdate } };
}

const failure = (kind: OcspFailure): OcspReply => ({ der: failedOcsp(kind), kind });

function keyOf(certId: Uint8Array): string {
  return Buffer.from(certId.buffer, certId.byteOffset, certId.byteLength).toString('latin1');
}

function textOf(status: PublishedStatus): string {
  return status.kind === 'revoked' ? `revoked ${status.at} ${status.reason}` : status.kind;
}

/** Whether a CertID is written as clients write it: with NULL behind the hash, or nothing. */
function isPlain({ der, hashOid, serial }: CertId, issuer: Issuer): boolean {
  return [true, false].some((parameters) => certIdOf(issuer, hashOid, serial, parameters).equals(der));
}

function certIdOf({ hashes }: Issuer, algorithm: string, serial: string, parameters = true): Buffer {
  const own = hashes.get(algorithm);
  if (own === undefined) throw new TypeError(`no hash ${algorithm}`);
  return sequence(sequence(oid(algorithm), ...(parameters ? [nullValue()] : [])), octetString(own.name), octetString(own.key), integer(serial));
}
