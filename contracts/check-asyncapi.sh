#!/usr/bin/env bash
# Checks asyncapi.yaml with the official parser, which must report no error or warning. Needs Node 18 or newer with
# npm; the parser is installed into target/asyncapi.
set -euo pipefail
cd "$(dirname "$0")/.."

version=3.6.3
tools=target/asyncapi/$version
if [ ! -d "$tools/node_modules/@asyncapi/parser" ]; then
  mkdir -p "$tools"
  npm install --prefix "$tools" --no-save --no-audit --no-fund --loglevel=error "@asyncapi/parser@$version"
fi
cat >"$tools/check.mjs" <<'SCRIPT'
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
// 0 is an error, 1 a warning, 2 information (such as: there is a newer version of the specification).
const wrong = diagnostics.filter(({ severity }) => severity <= 1);
for (const { message, path, severity } of wrong) console.error(severity ? 'warning' : 'error', path.join('.'), message);
if (!document || wrong.length > 0) process.exit(1);
const count = (all) => all.all().length;
console.log(`ok: ${count(document.channels())} channels, ${count(document.operations())} operations`);
SCRIPT
node "$tools/check.mjs" asyncapi.yaml
