// Generates the wire format's code and bundles the page into dist/.
//
//   node build.js        needs buf on the PATH

import { spawnSync } from 'node:child_process'
import { cpSync, rmSync } from 'node:fs'

import { build } from 'esbuild'

process.chdir(import.meta.dirname)
const generated = spawnSync('buf', ['generate'], { stdio: 'inherit' })
if (generated.error || generated.status !== 0) {
  console.error(generated.error ? `buf cannot be run: ${generated.error.message}` : 'buf could not generate the code')
  process.exit(1)
}
rmSync('dist', { recursive: true, force: true })
await build({
  entryPoints: ['src/main.js'],
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  minify: true,
  sourcemap: true,
  target: 'es2022',
  logLevel: 'warning',
})
for (const file of ['index.html', 'style.css']) {
  cpSync(`src/${file}`, `dist/${file}`)
}
