import type { GrantReport } from './store/grants.ts';

/** Grants that may be used, arranged by what requests are found by. */
export interface OpenGrants {
  add(report: GrantReport): void;
  /** Forgets this one; others for the same stay. */
  remove(report: GrantReport): void;
  /** Those for this certificate, route and patient, or for nobody, oldest first: they may differ in what they break. */
  named(sought: Sought): readonly GrantReport[];
  /** Those of a certificate and a route that were opened on the gateway's page. */
  declared(sought: Omit<Sought, 'patient'>): readonly GrantReport[];
}

export interface Sought {
  /** SHA-256, hex. */
  readonly certificate: string;
  readonly route: string;
  readonly patient?: string | undefined;
}

export function createOpenGrants(): OpenGrants {
  const named = new Map<string, Map<string, GrantReport>>();
  const declared = new Map<string, Map<string, GrantReport>>();
  const placeOf = ({ certificate, route }: Omit<Sought, 'patient'>): string => JSON.stringify([certificate, route]);
  const keyOf = ({ certificate, route, patient }: Sought): string => JSON.stringify([certificate, route, patient ?? null]);

  return {
    add(report) {
      keep(named, keyOf(report), report);
      if (report.page === true) keep(declared, placeOf(report), report);
    },
    remove(report) {
      forget(named, keyOf(report), report);
      forget(declared, placeOf(report), report);
    },
    named: (sought) => [...named.get(keyOf(sought))?.values() ?? []],
    declared: (sought) => [...declared.get(placeOf(sought))?.values() ?? []],
  };
}

function keep(places: Map<string, Map<string, GrantReport>>, place: string, report: GrantReport): void {
  const there = places.get(place) ?? new Map<string, GrantReport>();
  places.set(place, there.set(report.id, report));
}

function forget(places: Map<string, Map<string, GrantReport>>, place: string, { id }: GrantReport): void {
  const there = places.get(place);
  there?.delete(id);
  if (there?.size === 0) places.delete(place);
}
