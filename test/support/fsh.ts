/** Reads the rules of profiles and the codes of value sets out of texts in FHIR Shorthand, as far as BALP uses it, in the notation of balp.ts. */
export function readShorthand(texts: readonly string[]): ReadonlyMap<string, { readonly parent: string; readonly rules: readonly string[] }> {
  const lines = texts.join('\n').replace(/"""[\s\S]*?"""/g, '').split('\n').map((line) => line.replace(/(^|\s)\/\/.*$/, '').trimEnd());
  const aliases = new Map<string, string>();
  const sets = new Map<string, string[]>();
  const profiles = new Map<string, { parent: string; rules: string[] }>();
  let lead: string[] | undefined;
  for (const [index, line] of lines.entries()) {
    const [, keyword = '', value = ''] = /^(Alias|Profile|ValueSet|CodeSystem|Instance|RuleSet|Parent|Extension|Invariant|Logical):\s*(.*)$/.exec(line) ?? [];
    if (keyword === 'Alias') aliases.set(value.split('=')[0]?.trim() ?? '', value.split('=')[1]?.trim() ?? '');
    else if (keyword === 'Parent') (profiles.get([...profiles.keys()].at(-1) ?? '') as { parent: string }).parent = value.trim();
    else if (keyword === 'Profile') profiles.set(value.trim(), { parent: '', rules: lead = [] });
    else if (keyword === 'ValueSet') sets.set(value.trim(), lead = []);
    else if (keyword !== '') lead = undefined;
    else if (line.startsWith('* ') && lead !== undefined) {
      let whole = line.slice(2);
      for (let next = index + 1; /^\s+\S/.test(lines[next] ?? '') && !(lines[next] ?? '').startsWith('*'); next += 1) whole += ` ${(lines[next] ?? '').trim()}`;
      lead.push(whole.replace(/\s+/g, ' ').trim());
    }
  }
  const coded = (text: string): string => {
    const [system = '', code] = text.replace(/\s*".*$/, '').split('#');
    if (code === undefined) return system;
    return system === '' ? code : `${aliases.get(system) ?? (system === 'BasicAuditEntityType' ? 'https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType' : system)}#${code}`;
  };
  const ruleOf = (rule: string): readonly string[] => {
    const [path = '', ...rest] = rule.split(' ');
    const said = rest.join(' ');
    if (said === '^slicing.discriminator.path = "$this"') return [`${path} by $this`];
    if (said === '^slicing.discriminator.path = "type"') return [`${path} by type`];
    if (path.startsWith('^') || said.startsWith('^') || said === 'MS') return [];
    if (said.startsWith('contains ')) return said.slice(9).split(' and ').map((slice) => `${path} has ${slice.trim()}`);
    if (said.startsWith('from ')) return [`${path} from ${(sets.get(said.split(' ')[1] ?? '') ?? []).filter((one) => one.includes('#')).map(coded).sort().join('|')}`];
    if (said.startsWith('= ')) return [`${path} = ${coded(said.slice(2))}`];
    return [`${path} ${said.replace(/ MS$/, '')}`];
  };
  return new Map([...profiles].map(([name, { parent, rules }]) => [name, { parent, rules: rules.flatMap(ruleOf) }]));
}
