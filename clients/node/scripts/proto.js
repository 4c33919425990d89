// A packed package carries the wire format; in the tree there is only the project's own.
//
//   node scripts/proto.js copy | remove

import { cpSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const copy = here('../proto')

rmSync(copy, { recursive: true, force: true })
if (process.argv[2] === 'copy') {
  for (const name of ['money', 'ranking', 'feedback']) {
    const file = `offer_ranker/v1/${name}.proto`
    cpSync(here(`../../../proto/${file}`), `${copy}/${file}`)
  }
}
