import { html, type Html } from '../../forward/html.ts';
import { counted } from '../counted.ts';
import type { AuditReport, Count } from './report.ts';
import { gatewayText } from './text.ts';

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; break-after: avoid; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1rem; } caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); overflow-wrap: break-word; }
td.number, th.number { text-align: right; white-space: nowrap; }
.share { width: 14rem; }
tr { break-inside: avoid; }
.bad { border-left: .4rem solid #b3261e; padding-left: .75rem; } .good { border-left: .4rem solid #1b6e3c; padding-left: .75rem; }
.bar { display: block; height: .6rem; min-width: 1px; background: #2f6f9f; print-color-adjust: exact; }
@media print { body { margin: 0; max-width: none; } }
`;

/** The report as one page: no scripts, nothing loaded, and good to print. */
export function pageOf(report: AuditReport): string {
  const { gateway, from, to, made, findings, notes, chain, records, negotiated, certificates, routes, roles, outages, emergencies, alarms_open: open, retention_days: retention } = report;
  const title = `Audit of ${from.slice(0, 10)} to ${to.slice(0, 10)}`;
  return `<!doctype html>\n${html`<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"><title>${title}</title><style>${{ html: STYLE }}</style></head>
<body>
<main>
<h1>${title}</h1>
<p>Made ${made}. ${gatewayText(gateway)}.</p>
<h2>Findings</h2>
${findings.length === 0 ? html`<p class="good">None.</p>` : html`<div class="bad">${table(['Rule', 'What', 'What to do'], findings.map(({ rule, detail, remedy }) => [rule, detail, remedy]))}</div>`}
<h2>Chain of records</h2>
<p class="${chain.whole ? 'good' : 'bad'}">${chain.whole ? 'Whole' : 'Not whole'}: ${counted(chain.records, 'record')} in ${counted(chain.segments, 'segment')}, ${counted(chain.checkpoints, 'checkpoint')}${chain.anchored_to === undefined ? '' : `, anchored up to ${chain.anchored_to}`}. ${counted(chain.unanchored, 'record is', 'records are')} newer than the last of these.</p>
<p>${counted(records.in_period, 'record')} in the period${records.oldest === undefined ? '' : `; the oldest of all is of ${records.oldest}`}${retention === undefined ? '' : `; kept ${retention} days`}.</p>
${bars('Records by event', records.events)}
${bars('Refused and failed, by reason', records.reasons)}
<h2>Protocols and ciphers</h2>
${bars('What was negotiated', negotiated)}
<h2>Certificates</h2>
${bars(`Certificates of clients: ${certificates.seen}`, certificates.states)}
${table(['Ends', 'Use', 'Subject'], certificates.own.map(({ use, subject, not_after: end }) => [end.slice(0, 10), use, subject]), 'Of the gateway, and what it trusts')}
<h2>Routes and roles</h2>
${table(['Route', 'Clients', 'Health data', 'Let in', 'Without a certificate', 'Refused'], routes.map(({ name, clients, phi, permitted, denied, without_certificate: anonymous }) => [name, clients === 'anybody' ? 'anybody' : 'with a certificate', phi ? 'yes' : 'no', permitted, anonymous, denied]))}
${bars('Let in, by role', roles)}
<h2>Runs of the gateway</h2>
${outages.length === 0 ? html`<p>One, without a break.</p>` : table(['Ended', 'Started again', 'Stopped by somebody'], outages.map(({ from: ended, to: began, clean }) => [ended, began, clean ? 'yes' : 'no']))}
<h2>Emergencies and alarms</h2>
<p>${counted(emergencies.opened, 'grant')} in the period, ${emergencies.unreviewed} not reviewed; ${counted(open, 'alarm')} open.</p>
${notes.length === 0 ? undefined : html`<h2>Notes</h2><ul>${notes.map((note) => html`<li>${note}</li>`)}</ul>`}
</main>
</body>
</html>`.html}\n`;
}

function table(heads: readonly string[], rows: readonly (readonly (string | number)[])[], caption?: string): Html {
  return html`<table>${caption === undefined ? undefined : html`<caption>${caption}</caption>`}<thead><tr>${heads.map((head, column) => html`<th scope="col"${kind(rows[0]?.[column])}>${head}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell) => html`<td${kind(cell)}>${cell}</td>`)}</tr>`)}</tbody></table>`;
}

function kind(cell: string | number | undefined): Html {
  return typeof cell === 'number' ? html` class="number"` : html``;
}

function bars(caption: string, counts: readonly Count[]): Html | undefined {
  if (counts.length === 0) return undefined;
  const most = Math.max(...counts.map(({ count }) => count), 1);
  return html`<table><caption>${caption}</caption><thead><tr><th scope="col">What</th><th scope="col" class="number">Count</th><th scope="col" class="share">Share</th></tr></thead>
<tbody>${counts.map(({ name, count }) => html`<tr><td>${name}</td><td class="number">${count}</td><td><span class="bar" style="width:${Math.round((count / most) * 1000) / 10}%"></span></td></tr>`)}</tbody></table>`;
}
