// Bundles the IDE into ide/, each file compressed: what the Go package embeds.
// The same sources and the same package-lock.json give the same bytes.
import { build } from 'esbuild';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { gzipSync } from 'node:zlib';

const out = 'ide';
const common = { bundle: true, minify: true, write: false, outdir: out, legalComments: 'none', jsx: 'automatic', target: 'es2022' };

const results = await Promise.all([
  build({
    ...common,
    entryPoints: { ide: 'src/ide.jsx' },
    format: 'esm',
    splitting: true,
    chunkNames: 'chunk-[hash]',
    assetNames: '[name]-[hash]',
    loader: { '.ttf': 'file', '.woff2': 'file' },
    define: { 'process.env.NODE_ENV': '"production"' },
  }),
  build({
    ...common,
    entryPoints: {
      'editor.worker': 'monaco-editor/esm/vs/editor/editor.worker.js',
      'json.worker': 'monaco-editor/esm/vs/language/json/json.worker.js',
      'graphql.worker': 'monaco-graphql/esm/graphql.worker.js',
    },
    format: 'iife',
  }),
]);

rmSync(out, { recursive: true, force: true });
mkdirSync(out);
for (const file of results.flatMap((r) => r.outputFiles)) {
  const zip = gzipSync(file.contents, { level: 9 });
  zip[9] = 0xff; // the operating system, which would differ from machine to machine
  writeFileSync(join(out, basename(file.path) + '.gz'), zip);
}
