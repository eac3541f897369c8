// The software bill of materials of what is installed to run (CycloneDX), beside the build: dist/sbom.cdx.json. npm knows it from the
// lockfile; the packages need not be there. Plain JavaScript: it runs on whatever Node the machine has, also while an image is built.
//
//   node scripts/write-sbom.mjs [--omit optional] [--or-warn]      --or-warn: an npm that is too old to make one (before 9.5) is no error
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const project = new URL('..', import.meta.url);
const file = new URL('../dist/sbom.cdx.json', import.meta.url);
const args = process.argv.slice(2);
const withoutOptional = args.includes('optional');

try {
  write();
} catch (error) {
  if (!args.includes('--or-warn')) throw error;
  console.warn(`no SBOM: ${error.message}`);
}

function write() {
  // Not --omit=dev: npm then leaves out what we need to run as well, where something for development needs it too.
  const text = execFileSync('npm', ['sbom', '--sbom-format=cyclonedx', '--sbom-type=application', '--package-lock-only'], {
    cwd: fileURLToPath(project), encoding: 'utf8', maxBuffer: 64 * 1024 * 1024, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const bill = JSON.parse(text);
  const kept = installed(JSON.parse(readFileSync(new URL('package-lock.json', project), 'utf8')).packages);
  const own = bill.metadata.component;
  // npm takes the name from the directory.
  own.name = JSON.parse(readFileSync(new URL('package.json', project), 'utf8')).name;
  bill.components = bill.components.filter((component) => kept.has(component['bom-ref']));
  if (bill.components.length !== kept.size) throw new Error(`npm sbom names ${bill.components.length} of ${kept.size} packages`);
  const known = new Set([own['bom-ref'], ...kept]);
  bill.dependencies = bill.dependencies.filter(({ ref }) => known.has(ref)).map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((one) => known.has(one)) }));
  mkdirSync(new URL('.', file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(bill, null, 2)}\n`);
  console.log(`dist/sbom.cdx.json: ${bill.components.length} components`);
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
