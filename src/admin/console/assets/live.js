import { get } from './api.js';

const PAUSE_MS = 3_000;

/** What the gateway tells as it happens: the last quarter of an hour, then a sample every two seconds. */
export function follow({ told, lost, back, out }) {
  const samples = [];
  let away = false;
  let source;

  function begin() {
    source = new EventSource('/v1/live');
    source.addEventListener('history', (event) => {
      samples.splice(0, samples.length, ...JSON.parse(event.data));
      if (away) back();
      away = false;
      told(samples);
    });
    source.addEventListener('message', (event) => {
      samples.push(JSON.parse(event.data));
      if (samples.length > 450) samples.shift();
      told(samples);
    });
    source.addEventListener('error', () => {
      if (!away) lost();
      away = true;
      // Closed for good: the gateway has answered something else. It may be starting, or this certificate is no longer let in.
      if (source.readyState === EventSource.CLOSED) get('/v1/overview').then(() => setTimeout(begin, PAUSE_MS), ({ status }) => (status === 401 || status === 403 ? out() : setTimeout(begin, PAUSE_MS)));
    });
  }

  begin();
  return samples;
}
