import { GROUPS, namesOf, PROFILES, SUITES, type Clause, type ProfileText } from '../src/config/profiles.ts';

const SCANS = /<!-- scans -->\n([\s\S]*?)<!-- \/scans -->/;

/** The results of scans that docs/profiles.md holds; `scripts/scan-profiles.ts` writes them. */
export function scansIn(document: string): string {
  return SCANS.exec(document)?.[1] ?? '';
}

/** docs/profiles.md, from the profiles themselves and the results of scans. */
export function profileDocs(scans: string): string {
  return `# TLS profiles

\`tls.profile\` of a listener says which versions, cipher suites, groups and signatures it takes, and nothing else is taken. An upstream's \`tls.profile\`
says what is offered to it. \`wardgate profile\` lists them, \`wardgate profile NAME\` prints one with the reason for each entry, \`--json\` for programs.
This page is made from the same source (\`src/config/profiles.ts\`), and \`test/tls-profiles.test.ts\` scans a listener of each.

| profile | after | for |
| --- | --- | --- |
${Object.entries(PROFILES).map(([name, { standard, summary }]) => `| \`${name}\` | ${standard} | ${summary} |`).join('\n')}

Names of suites are those of the registry; the order is the server's preference, which holds whatever the client's is. By TLS 1.2 a suite needs a
certificate of its kind: \`_ECDSA_\` an EC key, \`_RSA_\` an RSA key. A listener may have both, and should under \`ihe-atna\` and \`dicom\`; \`wardgate check\`
warns where none fits.

Hybrid key exchange (X25519 with ML-KEM-768) is the first group of every profile but \`device\`, and it is asked for of each client that knows it, even of one that has
sent another key share. It is TLS 1.3's; by TLS 1.2 there is none. It keeps secret what is recorded today. Certificates and signatures are as before:
they need to hold at the moment of the handshake only.

No profile has compression, renegotiation, early data, static RSA, anonymous or pre-shared keys other than those of session tickets.

Under \`ihe-atna\`, ITI-19 asks more than suites: certificates are validated by their CA or pinned (\`client_auth.trust\` takes both), and an unknown
attribute in one must not break the handshake (a client without a role is answered 403, by HTTP). The port of DICOM over TLS is 2762.

The suites of B.13 and of ITI-19's option are those that DCMTK and other implementations have for them; the tables of the two standards themselves were not at hand
to compare with, so check them before you state conformance. No conformance is certified by anybody.
${Object.entries(PROFILES).map(([name, profile]) => section(name, profile)).join('')}
## Scans

Made by \`node scripts/scan-profiles.ts\`, which starts a gateway with a listener of each profile and has Debian's testssl and sslscan look at it. It needs both; \`npm test\`
runs sslscan and \`openssl s_client\` alone.

<!-- scans -->
${scans}<!-- /scans -->
`;
}

function section(name: string, { standard, summary, versions, suites, groups, signatures, departures }: ProfileText): string {
  return `
## \`${name}\`

${summary} After ${standard}.

| allowed | why | text |
| --- | --- | --- |
${[
    ...rows(versions, (version) => version),
    ...rows(suites, (suite) => `\`${suite}\` (${SUITES[suite].version})`),
    ...rows(groups, (group) => `\`${group}\` (0x${GROUPS[group].toString(16).padStart(4, '0')})`),
    ...rows(signatures, (signature) => `\`${signature}\``),
  ].join('\n')}

Where it departs from a text:

${departures.map(({ what, source }) => `- ${what} (${source})`).join('\n')}
${namesOf(versions).includes('TLS 1.2') ? '' : '\nIt has no suite of TLS 1.2.\n'}`;
}

function rows<Name extends string>(clauses: readonly Clause<Name>[], shown: (name: Name) => string): string[] {
  return clauses.map(({ names, why, source }) => `| ${names.map(shown).join('<br>')} | ${why} | ${source} |`);
}
