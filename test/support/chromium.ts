import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Issued } from './pki.ts';

/** Whether a Chromium is installed on this machine, with the tools that give it a client certificate. */
export const chromiumInstalled = ['chromium', 'certutil', 'pk12util'].every((program) => spawnSync(program, [program === 'chromium' ? '--version' : '-H']).error === undefined);

/** A page of a real browser, driven as a person would: by what is shown, keys and clicks. */
export interface Page {
  /** The status of the document that is shown. */
  readonly status: number;
  /** Of the document that is shown, names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  /** What the browser complained about since the start: refused styles, blocked scripts… */
  readonly complaints: readonly string[];
  goto(url: string): Promise<void>;
  /** Types into the field with this id, in place of what stands there. */
  type(id: string, text: string): Promise<void>;
  /** Presses Enter where the focus is, and waits for the next document. */
  enter(): Promise<void>;
  /** Clicks the link or button with this text, and waits for the next document. */
  click(text: string): Promise<void>;
  /** Clicks on the same, where another document need not follow. */
  press(text: string): Promise<void>;
  /** Gives the browser a security key of its own, which a finger or PIN is always right for, until told otherwise. */
  addSecurityKey(): Promise<{ verifies(yes: boolean): Promise<void>; credentials(): Promise<readonly { readonly rpId: string; readonly signCount: number }[]> }>;
  /** Whether pages may run scripts. */
  allowScripts(yes: boolean): Promise<void>;
  /** Result of an expression, by value. */
  evaluate<T>(expression: string): Promise<T>;
  /** Gives the window another size, in CSS pixels. */
  resize(width: number, height: number): Promise<void>;
  /** What the system prefers. */
  prefer(scheme: 'light' | 'dark'): Promise<void>;
  /** Writes a picture of the whole page, or of what of it is in the window. */
  screenshot(file: string, of?: 'page' | 'window'): Promise<void>;
  /** Violations of WCAG 2.2 AA that axe-core finds, as `rule: element`. */
  violations(): Promise<readonly string[]>;
  cookies(): Promise<readonly { readonly name: string; readonly value: string; readonly secure: boolean; readonly httpOnly: boolean; readonly sameSite?: string; readonly path: string; readonly session: boolean }[]>;
}

export interface Chromium {
  readonly page: Page;
  close(): Promise<void>;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

const PATIENCE_MS = 60_000;

/** A certificate as a person gets it. */
export interface Pkcs12File {
  readonly pkcs12: string;
  readonly passphrase: string;
}

/**
 * Starts a headless Chromium of its own that trusts the root of a PKI alone beside the usual CAs, and shows `client` to the given origin
 * unasked. Names of hospital.test lead to this machine.
 */
export async function startChromium(pki: { readonly root: Pick<Issued, 'certificate'> }, client: Issued | Pkcs12File, origin: string, language = 'en'): Promise<Chromium> {
  const home = await mkdtemp(join(tmpdir(), 'wardgate-chromium-'));
  const put = async (name: string, content: string): Promise<string> => {
    await mkdir(dirname(join(home, name)), { recursive: true });
    await writeFile(join(home, name), content);
    return join(home, name);
  };
  const database = `sql:${dirname(await put('.pki/nssdb/keep', ''))}`;
  execFileSync('certutil', ['-N', '--empty-password', '-d', database]);
  execFileSync('certutil', ['-A', '-d', database, '-n', 'root', '-t', 'C,,', '-i', await put('root.pem', pki.root.certificate)]);
  const { pkcs12, passphrase } = 'pkcs12' in client ? client : { pkcs12: join(home, 'client.p12'), passphrase: 'x' };
  if (!('pkcs12' in client)) execFileSync('openssl', ['pkcs12', '-export', '-out', pkcs12, '-inkey', await put('client.key', client.key), '-in', await put('client.pem', client.chain), '-passout', `pass:${passphrase}`, '-name', 'client']);
  execFileSync('pk12util', ['-i', pkcs12, '-d', database, '-W', passphrase], { stdio: 'pipe' });
  // What the policy AutoSelectCertificateForUrls sets, in the profile: a policy would be one of the whole machine.
  await put('profile/Default/Preferences', JSON.stringify({ profile: { managed_auto_select_certificate_for_urls: [JSON.stringify({ pattern: origin, filter: {} })] } }));
  const child = spawn('chromium', [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--remote-debugging-pipe',
    `--user-data-dir=${join(home, 'profile')}`, `--accept-lang=${language}`, '--window-size=900,1000', '--host-resolver-rules=MAP *.hospital.test 127.0.0.1', 'about:blank',
  ], { env: { HOME: home, PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8' }, stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const ended = new Promise<void>((done) => child.on('close', () => done()));
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  try {
    return { page: await openPage(child), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openPage(child: ChildProcess): Promise<Page> {
  const [, , , output, input] = child.stdio as unknown as [null, null, null, Writable, Readable];
  const waiting = new Map<number, { done(result: Record<string, unknown>): void; failed(error: Error): void }>();
  const listeners = new Set<(message: Message) => void>();
  let next = 1;
  let session: string | undefined;
  let held = '';
  input.setEncoding('utf8').on('data', (text: string) => {
    const messages = (held + text).split('\0');
    held = messages.pop() ?? '';
    for (const one of messages) receive(JSON.parse(one) as Message);
  });
  child.on('close', () => {
    for (const one of waiting.values()) one.failed(new Error('Chromium ended'));
  });
  output.on('error', () => undefined);
  input.on('error', () => undefined);

  function receive(message: Message): void {
    if (message.id === undefined) return listeners.forEach((listener) => listener(message));
    const one = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error === undefined) one?.done(message.result ?? {});
    else one?.failed(new Error(message.error.message));
  }

  function call(method: string, params: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
    const id = next++;
    output.write(`${JSON.stringify({ id, method, params, ...(session === undefined ? {} : { sessionId: session }) })}\0`);
    return within(`${method}`, new Promise((done, failed) => waiting.set(id, { done, failed })));
  }

  const state = { status: 0, headers: {} as Record<string, string>, complaints: [] as string[] };
  const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
  ({ sessionId: session } = await call('Target.attachToTarget', { targetId, flatten: true }) as { sessionId: string });
  await Promise.all(['Page.enable', 'Network.enable', 'Runtime.enable', 'Log.enable'].map((method) => call(method)));
  listeners.add(({ method, params }) => {
    if (method === 'Log.entryAdded') {
      const { level, source, text } = (params as { entry: { level: string; source: string; text: string } }).entry;
      if (level === 'error' || source === 'security') state.complaints.push(text);
    }
    if (method !== 'Network.responseReceived' || params?.['type'] !== 'Document') return;
    const { status, headers } = params['response'] as { status: number; headers: Record<string, string> };
    state.status = status;
    state.headers = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  });

  /** Does something that brings another document, and waits until that is there. */
  async function following(act: () => Promise<unknown>): Promise<void> {
    let listener: ((message: Message) => void) | undefined;
    const loaded = new Promise<void>((done) => {
      listener = ({ method }) => {
        if (method === 'Page.loadEventFired') done();
      };
      listeners.add(listener);
    });
    try {
      await act();
      await within('the next document', loaded);
    } finally {
      listeners.delete(listener as (message: Message) => void);
    }
  }

  async function evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true }) as { result: { value: T }; exceptionDetails?: { exception?: { description?: string } } };
    if (exceptionDetails !== undefined) throw new Error(exceptionDetails.exception?.description ?? `failed: ${expression}`);
    return result.value;
  }

  function clickOn(text: string): Promise<void> {
    return evaluate(`(() => {
      const found = [...document.querySelectorAll('a, button')].find((one) => one.textContent.trim() === ${JSON.stringify(text)});
      if (found === undefined) throw new Error('nothing to click on: ' + ${JSON.stringify(text)} + ' in ' + document.body.innerText);
      found.click();
    })()`);
  }

  async function press(key: string, text: string, code: number): Promise<void> {
    await call('Input.dispatchKeyEvent', { type: 'keyDown', key, code: key, text, windowsVirtualKeyCode: code });
    await call('Input.dispatchKeyEvent', { type: 'keyUp', key, code: key, windowsVirtualKeyCode: code });
  }

  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

  return {
    get status() {
      return state.status;
    },
    get headers() {
      return state.headers;
    },
    get complaints() {
      return state.complaints;
    },
    goto: (url) => following(async () => {
      const { errorText } = await call('Page.navigate', { url }) as { errorText?: string };
      if (errorText !== undefined) throw new Error(`${url}: ${errorText}`);
    }),
    async type(id, text) {
      await evaluate(`(() => { const field = document.getElementById(${JSON.stringify(id)}); field.focus(); field.select(); })()`);
      await call('Input.insertText', { text });
    },
    enter: () => following(() => press('Enter', '\r', 13)),
    click: (text) => following(() => clickOn(text)),
    press: clickOn,
    async addSecurityKey() {
      await call('WebAuthn.enable');
      const { authenticatorId } = await call('WebAuthn.addVirtualAuthenticator', {
        options: { protocol: 'ctap2', transport: 'usb', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
      });
      return {
        verifies: async (yes) => {
          await call('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: yes });
        },
        credentials: async () => (await call('WebAuthn.getCredentials', { authenticatorId }))['credentials'] as { rpId: string; signCount: number }[],
      };
    },
    allowScripts: async (yes) => {
      await call('Emulation.setScriptExecutionDisabled', { value: !yes });
    },
    evaluate,
    async resize(width, height) {
      await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    },
    async prefer(scheme) {
      await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
    },
    async screenshot(file, of = 'page') {
      const { data } = await call('Page.captureScreenshot', { format: 'png', captureBeyondViewport: of === 'page' }) as { data: string };
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, Buffer.from(data, 'base64'));
    },
    async violations() {
      await evaluate(`${axe}; undefined`);
      return evaluate(`axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
        .then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => id + ': ' + html)))`);
    },
    cookies: async () => (await call('Network.getCookies')) ['cookies'] as Awaited<ReturnType<Page['cookies']>>,
  };
}

function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, failed) => {
    timer = setTimeout(() => failed(new Error(`${what}: not within ${PATIENCE_MS} ms`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
