// Checks that the files in `web/vendor` equal those of the registry, byte for byte, and that there are no others.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const vendor = fileURLToPath(new URL("../../../web/vendor/", import.meta.url));
const modules = fileURLToPath(new URL("node_modules/", import.meta.url));

/** @type {Record<string, string>} */
const FILES = {
  "uplot/uPlot.esm.js": "uplot/dist/uPlot.esm.js",
  "uplot/uPlot.esm.d.ts": "uplot/dist/uPlot.d.ts",
  "uplot/uPlot.min.css": "uplot/dist/uPlot.min.css",
  "uplot/LICENSE": "uplot/LICENSE",
  "inter/inter-latin-wght-normal.woff2": "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2",
  "inter/LICENSE": "@fontsource-variable/inter/LICENSE",
  "jetbrains-mono/jetbrains-mono-latin-wght-normal.woff2":
    "@fontsource-variable/jetbrains-mono/files/jetbrains-mono-latin-wght-normal.woff2",
  "jetbrains-mono/LICENSE": "@fontsource-variable/jetbrains-mono/LICENSE",
};

const present = readdirSync(vendor, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath ?? entry.path}/${entry.name}`.slice(vendor.length).replace(/^\//, ""));
const wrong = present.filter((file) => {
  const original = FILES[file];
  return !original || !readFileSync(vendor + file).equals(readFileSync(modules + original));
});
const missing = Object.keys(FILES).filter((file) => !present.includes(file));
for (const file of wrong) console.error(`web/vendor/${file} differs from the registry`);
for (const file of missing) console.error(`web/vendor/${file} is missing`);
if (wrong.length || missing.length) process.exit(1);
console.log(`ok: ${present.length} vendored files equal those of the registry`);
