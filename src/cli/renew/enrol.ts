import { createPrivateKey } from 'node:crypto';
import { lstatSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { pem, sequence } from '../../ca/der.ts';
import { callEst, operationUrl, type EstReply } from '../../ca/est/client.ts';
import { generateKey, spkiOf } from '../../ca/keys.ts';
import { createRequest } from '../../ca/request.ts';
import { parseDuration } from '../../config/values.ts';
import { readBundle } from '../../pki/bundle.ts';
import type { Certificate } from '../../pki/certificate.ts';
import { sameBytes } from '../../pki/der.ts';
import { formatName } from '../../pki/name.ts';
import { createPool, validatePath } from '../../pki/path.ts';
import { passphraseFromFile } from '../ca/place.ts';
import type { CommandGround } from '../ground.ts';
import { WrongUsage } from '../usage.ts';
import { readCertificates } from './answer.ts';
import { lockOf, sleep } from './command.ts';
import { begin, begun, cutOff, forget, pairFiles, placeFirst, receive, type Begun, type PairFiles } from './pair-files.ts';
import { leafOf, said } from './renewal.ts';

export interface EnrolOptions {
  readonly est: string;
  readonly name: string;
  readonly codeFile: string;
  readonly cert: string;
  readonly key: string;
  readonly trust: string;
  readonly root?: string;
  readonly wait: string;
  readonly json?: boolean;
}

/** The EST server says when to come again, and never sooner than this, ms. */
const SOONEST = 10_000;
const LATEST = 3_600_000;
const SKEW = 5 * 60_000;
const MOST_ANCHORS = 100;

export function addEnrolCommand(program: Command, { jsonOption, print, settle }: CommandGround): void {
  program.command('enrol').description('get the first certificate of this device over EST, with an enrolment code; wardgate renew goes on from there')
    .requiredOption('--est <url>', 'the EST server: https://gateway, or with its path and label')
    .requiredOption('--name <name>', 'the name that the code was made for')
    .requiredOption('--code-file <file>', 'holds the code, readable by its owner alone')
    .requiredOption('--cert <file>', 'where the certificate goes with its chain, PEM; must not be there yet')
    .requiredOption('--key <file>', 'where its private key goes, PEM; must not be there yet')
    .requiredOption('--trust <file>', "the CAs of the EST server's own certificate, and the root of the CA, PEM, brought here by another way")
    .option('--root <file>', 'the root of the CA, where --trust is to vouch for the EST server alone')
    .option('--wait <duration>', 'how long to go on asking while nobody has approved the request, or the server cannot be reached', '0s')
    .option(...jsonOption)
    .addHelpText('after', '\nExample:\n  wardgate enrol --est https://gateway.hospital.test --name kiosk-9.hospital.test --code-file code --cert /etc/kiosk/kiosk.pem --key /etc/kiosk/kiosk.key --trust /etc/kiosk/hospital-root.pem --wait 2d'
      + '\n\nExit status 0: enrolled; 1: not yet, the next run may succeed, with the same key; 2: wrong usage; 3: refused.')
    .action(settle((options: EnrolOptions) => enrolCommand(options, print)));
}

/** `wardgate enrol`; resolves with the exit code. `pause` waits for so many ms. */
export async function enrolCommand(options: EnrolOptions, print: (text: string) => void, pause: (ms: number) => Promise<unknown> = (ms) => sleep(ms, new AbortController().signal)): Promise<0 | 1 | 3> {
  const wait = parseDuration(options.wait);
  if (wait === undefined) throw new WrongUsage(`--wait: "${options.wait}" is no duration; expected such as 2d or 0s`);
  if (operationUrl(options.est, 'cacerts') === undefined) throw new WrongUsage(`--est: "${options.est}" is no https URL; expected such as https://gateway.hospital.test`);
  if (resolve(options.cert) === resolve(options.key)) throw new WrongUsage('--cert and --key name one file; expected two');
  const files = pairFiles(options.cert, options.key);
  const trust = readFileSync(options.trust, 'utf8');
  const asked: Asked = {
    files, trust, est: options.est, name: options.name, root: options.root === undefined ? trust : readFileSync(options.root, 'utf8'),
    authorization: `Basic ${Buffer.from(`${options.name}:${passphraseFromFile(options.codeFile, 'enrolment code')}`).toString('base64')}`,
  };
  const lock = lockOf(files);
  try {
    const unfinished = cutOff(files);
    if (unfinished === undefined && (isThere(files.certificate) || isThere(files.key))) throw new Error(`${files.certificate}, ${files.key}: there already; nothing is written over. wardgate renew renews them`);
    const until = Date.now() + wait;
    for (;;) {
      const outcome = unfinished === undefined ? await attempt(asked) : finished(files, unfinished);
      if (outcome.kind === 'enrolled') {
        const { certificate } = outcome;
        const facts = { result: 'enrolled', serial: certificate.serial, not_after: new Date(certificate.notAfter).toISOString() };
        print(options.json === true ? JSON.stringify(facts) : `${formatName(certificate.subject)}: enrolled, serial ${certificate.serial}, valid until ${facts.not_after}`);
        return 0;
      }
      const again = Date.now() + Math.min(Math.max((outcome.kind === 'later' ? outcome.after : undefined) ?? 0, SOONEST), LATEST);
      if (outcome.kind === 'refused' || again > until) {
        if (options.json === true) print(JSON.stringify({ result: outcome.kind === 'refused' ? 'refused' : 'waiting', detail: outcome.detail }));
        else process.stderr.write(`wardgate: not enrolled${outcome.kind === 'refused' ? '' : ' yet'}: ${outcome.detail}\n`);
        return outcome.kind === 'refused' ? 3 : 1;
      }
      await pause(again - Date.now());
    }
  } finally {
    lock.release();
  }
}

interface Asked {
  readonly files: PairFiles;
  readonly est: string;
  readonly name: string;
  readonly trust: string;
  readonly root: string;
  readonly authorization: string;
}

type Outcome =
  | { readonly kind: 'enrolled'; readonly certificate: Certificate }
  /** `after`: ms, as the server says. */
  | { readonly kind: 'later'; readonly detail: string; readonly after?: number }
  | { readonly kind: 'refused'; readonly detail: string };

async function attempt(asked: Asked): Promise<Outcome> {
  const { files, est, trust, authorization } = asked;
  const received = begun(files);
  // Judged before it was kept.
  if (received?.certificate !== undefined) return finished(files, received.name);
  const authorities = await callEst(operationUrl(est, 'cacerts') as URL, { trust });
  if (authorities.kind === 'unreachable' || authorities.status !== 200) return failure(authorities);
  const open = received ?? await start(files);
  const reply = await callEst(operationUrl(est, 'simpleenroll') as URL, { trust, authorization }, { type: 'application/pkcs10', text: open.request.toString('base64').replace(/.{64}/g, '$&\n') });
  if (reply.kind === 'answer' && reply.status === 202) return { kind: 'later', detail: 'nobody has approved the request yet', ...(reply.retryAfter === undefined ? {} : { after: reply.retryAfter }) };
  if (reply.kind === 'answer' && reply.status === 400) {
    forget(files);
    // The key of an earlier run may be one that the CA has certified by another code: a new one is tried, once.
    if (received !== undefined) return attempt(asked);
  }
  // Otherwise the key stays: should the CA have signed for it, no other one is ever certified.
  if (reply.kind === 'unreachable' || reply.status !== 200) return failure(reply);
  let judged: readonly Certificate[] | string;
  try {
    judged = chainOf(asked, open, readCertificates(authorities.body), readCertificates(reply.body));
  } catch (error) {
    return { kind: 'later', detail: `the answer cannot be read: ${(error as Error).message}` };
  }
  if (typeof judged === 'string') return { kind: 'refused', detail: judged };
  receive(files, open.name, judged.map(({ der }) => pem('CERTIFICATE', der)).join(''));
  return finished(files, open.name);
}

async function start(files: PairFiles): Promise<Begun> {
  const { privateKey } = await generateKey('ec');
  // The names were approved with the code; the device has nothing to say about them.
  const request = await createRequest(privateKey, { subject: sequence() });
  const key = privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  const name = `first-${new Date().toISOString().replace(/[-:.]/g, '')}`;
  forget(files);
  begin(files, name, key, request);
  return { name, key, request };
}

/** The new certificate with what stands between it and a root that was brought here by another way, or what is wrong with it. */
function chainOf({ name, root }: Asked, open: Begun, authorities: readonly Certificate[], answered: readonly Certificate[]): readonly Certificate[] | string {
  const spki = spkiOf(createPrivateKey(open.key));
  const certificate = answered.find((one) => sameBytes(one.spki, spki));
  if (certificate === undefined) return 'no certificate of the answer is of our key';
  if (certificate.basicConstraints?.ca === true) return 'the certificate is that of a CA';
  const named = certificate.subject.rdns.flat().some(({ oid, value }) => oid === COMMON_NAME && value === name);
  if (!named) return `the certificate is another's: ${formatName(certificate.subject)}; expected CN=${name}`;
  const anchors = readBundle(Buffer.from(root), MOST_ANCHORS).filter(({ selfIssued }) => selfIssued);
  const verdict = validatePath(certificate, createPool(anchors, [...authorities, ...answered]), { now: Date.now(), skew: SKEW, purpose: 'client' });
  if (verdict.kind === 'invalid') return `the certificate has no valid path to the root that is trusted here: ${verdict.detail}`;
  return verdict.path.filter(({ selfIssued }, index) => index === 0 || !selfIssued);
}

const COMMON_NAME = '2.5.4.3';

function finished(files: PairFiles, name: string): Outcome {
  placeFirst(files, name);
  return { kind: 'enrolled', certificate: leafOf(readFileSync(files.certificate, 'utf8')) };
}

function failure(reply: EstReply): Outcome {
  const passing = reply.kind === 'unreachable' || reply.status >= 500 || reply.status === 408 || reply.status === 429;
  if (!passing) return { kind: 'refused', detail: said(reply) };
  return { kind: 'later', detail: said(reply), ...(reply.kind === 'answer' && reply.retryAfter !== undefined ? { after: reply.retryAfter } : {}) };
}

function isThere(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}
