// Builds both adapters: the anywidget's module by esbuild, the labextension's bundle by esbuild and then Jupyter's
// builder, which makes it a federated module. Called by build.py.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const target = join(root, '..', 'nbautoml');
const isDevelopment = process.argv.includes('--development');

/** anywidget sends this file with every model: it may not grow. */
const MAX_WIDGET_BYTES = 200_000;

const common = {
  bundle: true,
  format: 'esm',
  jsx: 'automatic',
  jsxImportSource: 'preact',
  target: 'es2022',
  legalComments: 'none',
  charset: 'utf8',
  logLevel: 'warning',
  absWorkingDir: root,
};

async function buildWidget() {
  const folder = join(target, 'static');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await build({
    ...common,
    entryPoints: { widget: 'src/widget/index.ts', 'widget-style': 'style/panel.css' },
    outdir: folder,
    minify: !isDevelopment,
  });
  const style = join(folder, 'widget-style.css');
  writeFileSync(join(folder, 'widget.css'), readFileSync(style));
  rmSync(style);
  const { length } = readFileSync(join(folder, 'widget.js'));
  if (length > MAX_WIDGET_BYTES && !isDevelopment) {
    throw new Error(`widget.js has ${length} bytes, more than ${MAX_WIDGET_BYTES}: take something out`);
  }
}

async function buildLabextension() {
  const source = join(root, 'labextension');
  const lib = join(source, 'lib');
  rmSync(lib, { recursive: true, force: true });
  await build({
    ...common,
    entryPoints: { index: 'src/lab/index.ts', style: 'style/panel.css' },
    outdir: lib,
    // They belong to the application.
    external: ['@jupyterlab/*', '@lumino/*'],
    minify: !isDevelopment,
  });
  const builder = require.resolve('@jupyter/builder/lib/build-labextension.js');
  const core = require.resolve('@jupyterlab/core-meta/core.package.json');
  const done = spawnSync(
    process.execPath,
    [builder, '--core-package-file', core, ...(isDevelopment ? ['--development'] : []), source],
    { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' },
  );
  if (done.status !== 0) throw new Error(`the labextension was not built:\n${done.stdout}`);
  cpSync(join(source, 'install.json'), join(target, 'labextension', 'install.json'));
}

await buildWidget();
await buildLabextension();
