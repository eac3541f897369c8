// The software bill of materials of what is installed to run, beside the build: dist/sbom.cdx.json (CycloneDX) and dist/sbom.spdx.json
// (SPDX). npm knows it from the lockfile; the packages need not be there. Plain JavaScript: it runs on whatever Node the machine has, also while an image is built.
//
//   node scripts/write-sbom.mjs [--omit optional] [--or-warn]      --or-warn: an npm that is too old to make one (before 9.5) is no error
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const project = new URL('..', import.meta.url);
const args = process.argv.slice(2);
const withoutOptional = args.includes('optional');

try {
  write();
} catch (error) {
  if (!args.includes('--or-warn')) throw error;
  console.warn(`no SBOM: ${error.message}`);
}

function write() {
  const kept = installed(JSON.parse(readFileSync(new URL('package-lock.json', project), 'utf8')).packages);
  mkdirSync(new URL('dist', project), { recursive: true });
  for (const [format, of] of [['cdx', cycloneDx], ['spdx', spdx]]) {
    writeFileSync(new URL(`dist/sbom.${format}.json`, project), `${JSON.stringify(of(kept), null, 2)}\n`);
    console.log(`dist/sbom.${format}.json: ${kept.size} components`);
  }
}

function billOf(format) {
  // Not --omit=dev: npm then leaves out what we need to run as well, where something for development needs it too.
  const text = execFileSync('npm', ['sbom', `--sbom-format=${format}`, '--sbom-type=application', '--package-lock-only'], {
    cwd: fileURLToPath(project), encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, stdio: ['ignore', 'pipe', 'pipe'],
  });
  return JSON.parse(text);
}

function cycloneDx(kept) {
  const bill = billOf('cyclonedx');
  const own = bill.metadata.component;
  // npm takes the name from the directory.
  own.name = JSON.parse(readFileSync(new URL('package.json', project), 'utf8')).name;
  bill.components = whole(kept, bill.components.filter((component) => kept.has(component['bom-ref'])));
  // npm takes the names of packages from their directories, too: of an alias (http-proxy) that is another package's.
  for (const component of bill.components) if (component.group === undefined) component.name = component['bom-ref'].replace(/@[^@]*$/, '');
  const known = new Set([own['bom-ref'], ...kept]);
  bill.dependencies = bill.dependencies.filter(({ ref }) => known.has(ref)).map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((one) => known.has(one)) }));
  return bill;
}

function spdx(kept) {
  const bill = billOf('spdx');
  const [own] = bill.documentDescribes;
  const packages = bill.packages.filter(({ SPDXID, name, versionInfo }) => SPDXID !== own && kept.has(`${name}@${versionInfo}`));
  bill.packages = [...bill.packages.filter(({ SPDXID }) => SPDXID === own), ...whole(kept, packages)];
  const known = new Set([bill.SPDXID, ...bill.packages.map(({ SPDXID }) => SPDXID)]);
  bill.relationships = bill.relationships.filter(({ spdxElementId, relatedSpdxElement }) => known.has(spdxElementId) && known.has(relatedSpdxElement));
  return bill;
}

function whole(kept, components) {
  if (components.length !== kept.size) throw new Error(`npm sbom names ${components.length} of ${kept.size} packages`);
  return components;
}

/** The packages of a lockfile that are installed to run, as `name@version`. */
function installed(packages) {
  const found = new Set();
  for (const [path, { name, version, dev, optional, devOptional }] of Object.entries(packages)) {
    const left = dev === true || (withoutOptional && (optional === true || devOptional === true));
    if (path !== '' && !left) found.add(`${name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)}@${version}`);
  }
  return found;
}
