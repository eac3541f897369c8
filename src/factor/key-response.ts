import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/server';

/** Characters of base64url; an answer as a whole is limited where it is received. */
const LONGEST = { id: 1_364, clientDataJSON: 8_192, authenticatorData: 8_192, signature: 8_192, userHandle: 88, attestationObject: 16_384 } as const;
const BASE64URL = /^[A-Za-z0-9_-]+$/;
const TRANSPORT = /^[a-z-]{1,20}$/;

/** Reads what a key answered when somebody signs in, as JSON or its value; undefined when it is none. Nothing else of it is kept. */
export function readAssertion(input: unknown): AuthenticationResponseJSON | undefined {
  const [id, response] = credentialOf(input);
  if (id === undefined) return undefined;
  const [clientDataJSON, authenticatorData, signature] = (['clientDataJSON', 'authenticatorData', 'signature'] as const).map((name) => textOf(response[name], name));
  const handle = response['userHandle'];
  const userHandle = textOf(handle, 'userHandle');
  if (clientDataJSON === undefined || authenticatorData === undefined || signature === undefined) return undefined;
  // Null where the key does not know whose it is.
  if (handle !== undefined && handle !== null && handle !== '' && userHandle === undefined) return undefined;
  return { id, rawId: id, type: 'public-key', clientExtensionResults: {}, response: { clientDataJSON, authenticatorData, signature, ...(userHandle === undefined ? {} : { userHandle }) } };
}

/** The same for a key that is enrolled. */
export function readAttestation(input: unknown): RegistrationResponseJSON | undefined {
  const [id, response] = credentialOf(input);
  if (id === undefined) return undefined;
  const [clientDataJSON, attestationObject] = (['clientDataJSON', 'attestationObject'] as const).map((name) => textOf(response[name], name));
  const listed = response['transports'];
  const transports = Array.isArray(listed) ? listed.filter((one): one is string => typeof one === 'string' && TRANSPORT.test(one)).slice(0, 8) : [];
  if (clientDataJSON === undefined || attestationObject === undefined) return undefined;
  return { id, rawId: id, type: 'public-key', clientExtensionResults: {}, response: { clientDataJSON, attestationObject, transports } };
}

function credentialOf(input: unknown): [id: string, response: Readonly<Record<string, unknown>>] | [undefined, Record<string, never>] {
  const value = objectOf(typeof input === 'string' ? parsed(input) : input);
  const response = objectOf(value?.['response']);
  const id = textOf(value?.['id'], 'id');
  if (value === undefined || response === undefined || id === undefined || value['type'] !== 'public-key' || (value['rawId'] ?? id) !== id) return [undefined, {}];
  return [id, response];
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined;
}

function textOf(value: unknown, name: keyof typeof LONGEST): string | undefined {
  return typeof value === 'string' && value.length <= LONGEST[name] && BASE64URL.test(value) ? value : undefined;
}

/** The octets of a text in base64url. */
export function octetsOf(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, 'base64url'));
}
