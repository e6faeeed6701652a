// Runs the Khronos glTF validator on the files named as arguments and prints its reports as a JSON list.
import { readFile } from 'node:fs/promises';
import { validateBytes } from 'gltf-validator';

const reports = [];
for (const path of process.argv.slice(2)) {
  reports.push(await validateBytes(new Uint8Array(await readFile(path)), { maxIssues: 1000 }));
}
console.log(JSON.stringify(reports));
