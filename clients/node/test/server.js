// Real servers for the tests, each with a store of its own.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const WITH_SERVER = fileURLToPath(new URL('../../../scripts/with-server', import.meta.url))
// Tells the address, and stays until its input ends.
const STAY = ['sh', '-c', 'echo "$OFFER_RANKER_TARGET"; cat']

/** A server of the example catalog: its host and port, and how to stop it. */
export async function startServer(environment = {}) {
  const stdio = ['pipe', 'pipe', 'inherit']
  const running = spawn(WITH_SERVER, STAY, { stdio, env: { ...process.env, ...environment } })
  const [line] = await Promise.race([once(running.stdout, 'data'), once(running, 'exit')])
  const target = String(line).trim().replace('http://', '')
  if (!target.includes(':')) {
    throw new Error('the server did not start')
  }
  const stop = async () => {
    const stopped = once(running, 'exit')
    running.stdin.end()
    await stopped
  }
  return { target, stop }
}
