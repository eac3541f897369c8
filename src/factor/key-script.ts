/**
 * What the browser runs on the pages where a security key is used: gets the options, has the browser ask for the key (WebAuthn sections 7.1
 * and 7.2, steps of the client), and sends the answer with the form. It stands at a path of its own, since nothing inline may run. Without it
 * the form stays hidden, and the page says what else there is.
 */
export const KEY_SCRIPT = `'use strict';
(() => {
  const form = document.getElementById('key-form');
  const told = document.getElementById('key-told');
  if (form === null || told === null) return;
  const button = form.querySelector('button');
  const octets = (text) => Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (letter) => letter.charCodeAt(0));
  const text = (buffer) => btoa(Array.from(new Uint8Array(buffer), (octet) => String.fromCharCode(octet)).join('')).replace(/\\+/g, '-').replace(/\\//g, '_').replace(/=+$/, '');
  const known = (list) => (list || []).map((one) => ({ ...one, id: octets(one.id) }));
  const tell = (what) => {
    told.textContent = form.dataset[what];
    told.hidden = false;
  };
  if (window.PublicKeyCredential === undefined || navigator.credentials === undefined) {
    tell('unsupported');
    return;
  }
  form.hidden = false;

  async function ask() {
    const answer = await fetch('/.wardgate/webauthn/options', {
      method: 'POST', credentials: 'same-origin', cache: 'no-store', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ for: form.dataset.purpose }),
    });
    if (!answer.ok) return { refused: answer.status === 429 ? 'locked' : 'refused' };
    return answer.json();
  }

  async function sign(options) {
    const made = await navigator.credentials.get({ publicKey: { ...options, challenge: octets(options.challenge), allowCredentials: known(options.allowCredentials) } });
    const { clientDataJSON, authenticatorData, signature, userHandle } = made.response;
    return {
      id: made.id, rawId: made.id, type: made.type,
      response: { clientDataJSON: text(clientDataJSON), authenticatorData: text(authenticatorData), signature: text(signature), userHandle: userHandle ? text(userHandle) : null },
    };
  }

  async function create(options) {
    const made = await navigator.credentials.create({
      publicKey: { ...options, challenge: octets(options.challenge), user: { ...options.user, id: octets(options.user.id) }, excludeCredentials: known(options.excludeCredentials) },
    });
    const { clientDataJSON, attestationObject } = made.response;
    const transports = typeof made.response.getTransports === 'function' ? made.response.getTransports() : [];
    return { id: made.id, rawId: made.id, type: made.type, response: { clientDataJSON: text(clientDataJSON), attestationObject: text(attestationObject), transports } };
  }

  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    told.hidden = true;
    button.disabled = true;
    try {
      const options = await ask();
      if (options.refused !== undefined) {
        tell(options.refused);
        return;
      }
      const answer = await (form.dataset.purpose === 'enrol' ? create(options) : sign(options));
      form.elements.namedItem('response').value = JSON.stringify(answer);
      form.submit();
    } catch (error) {
      tell(error instanceof DOMException && error.name === 'InvalidStateError' ? 'known' : 'failed');
    } finally {
      button.disabled = false;
    }
  });
})();
`;
