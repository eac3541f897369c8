import type { Fault, Path } from './issue.ts';
import { show } from './issue.ts';
import { fileOf, type Config, type TlsConfig } from './schema.ts';

/**
 * Names that clients ask for and no certificate shows, and certificates that show no such name. `namesOf` gives the
 * names in a certificate's file.
 */
export function coverageWarnings(config: Config, namesOf: (certificateFile: string) => readonly string[]): readonly Fault[] {
  const hosts = [
    ...config.routes.flatMap((route, index) => (route.match.host ?? []).map((host) => ({ host, path: ['routes', index, 'match', 'host'] as Path }))),
    ...Object.keys(config.aliases).map((host) => ({ host, path: ['aliases', host] as Path })),
  ];
  const listeners = config.listeners.flatMap((listener, index) => (listener.protocol === 'https' && listener.name !== config.admin.listener ? [{ listener, path: ['listeners', index] as Path }] : []));
  const served = listeners.flatMap(({ listener }) => certificateNames(listener.tls, namesOf));
  const uncovered = hosts.filter(({ host }) => !served.some((name) => overlaps(name, host)));
  return [
    ...listeners.flatMap(({ listener, path }) => {
      const realms = Object.keys(listener.client_auth.names);
      const wanted = [...new Set([...hosts.map(({ host }) => host), ...realms])];
      const own = certificateNames(listener.tls, namesOf);
      return [
        ...idleCertificates(listener.tls, [...path, 'tls', 'certificates'], wanted, namesOf),
        ...realms.filter((realm) => !own.some((name) => overlaps(name, realm)))
          .map((realm): Fault => ({ path: [...path, 'client_auth', 'names', realm], at: 'key', message: `no certificate of this listener covers ${show(realm)}` })),
      ];
    }),
    ...uncovered.map(({ host, path }) => ({ path, message: `no listener's certificate covers ${show(host)}` })),
    ...(config.second_factor.webauthn.rp_ids ?? []).flatMap((id, index): Fault[] => (served.some((name) => name === id || name.endsWith(`.${id}`))
      ? [] : [{ path: ['second_factor', 'webauthn', 'rp_ids', index], message: `no listener's certificate is for ${show(id)} or a name below it: no page of ours can use its keys` }])),
  ];
}

function certificateNames(tls: TlsConfig, namesOf: (file: string) => readonly string[]): readonly string[] {
  return tls.certificates.flatMap((own) => namesOf(fileOf(own)));
}

function idleCertificates(tls: TlsConfig, path: Path, wanted: readonly string[], namesOf: (file: string) => readonly string[]): Fault[] {
  if (wanted.length === 0) return [];
  return tls.certificates.flatMap((own, index) => {
    const names = namesOf(fileOf(own));
    if (names.some((name) => wanted.some((host) => overlaps(name, host)))) return [];
    const message = `${show(fileOf(own))} covers none of ${wanted.join(', ')}; it covers ${names.length === 0 ? 'nothing' : names.map((name) => show(name)).join(', ')}`;
    return [{ path: [...path, index, own.certificate === undefined ? 'pkcs12' : 'certificate'], message }];
  });
}

/** Whether a certificate's name and a host (or pattern of hosts) have a name in common; `*.` is one label in both. */
function overlaps(name: string, host: string): boolean {
  if (name === host) return true;
  return covers(name, host) || covers(host, name);
}

function covers(pattern: string, host: string): boolean {
  return pattern.startsWith('*.') && !host.startsWith('*.') && host.slice(host.indexOf('.')) === pattern.slice(1);
}
