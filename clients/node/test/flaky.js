// A network that loses answers: what retries exist for.
//
// Between client and server stands a proxy. Armed, it lets the next request through and, once the server begins to
// answer it, hangs up on both without passing anything on: the server has done its work and the client cannot know.

import { once } from 'node:events'
import net from 'node:net'

const FRAME_HEADER_BYTES = 9
const HEADERS = 1

/** A proxy before a server (host:port). */
export async function startLosingProxy(server) {
  const proxy = { lost: 0, armed: false }
  const [host, port] = server.split(':')
  const connections = new Set()
  const listener = net.createServer((client) => {
    const upstream = net.connect(Number(port), host)
    const hangUp = () => [client, upstream].forEach((socket) => socket.destroy())
    connections.add(hangUp)
    for (const socket of [client, upstream]) {
      socket.on('error', hangUp).on('close', hangUp)
    }
    client.pipe(upstream)
    let pending = Buffer.alloc(0)
    upstream.on('data', (data) => {
      pending = Buffer.concat([pending, data])
      for (let frame = firstFrame(pending); frame; frame = firstFrame(pending)) {
        // An answer begins with a frame of headers; what comes before it are windows and pings.
        if (proxy.armed && frame[3] === HEADERS) {
          proxy.armed = false
          proxy.lost += 1
          hangUp()
          return
        }
        client.write(frame)
        pending = pending.subarray(frame.length)
      }
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  proxy.target = `127.0.0.1:${listener.address().port}`
  proxy.loseTheNextAnswer = () => {
    proxy.armed = true
  }
  proxy.stop = () => {
    listener.close()
    connections.forEach((hangUp) => hangUp())
  }
  return proxy
}

/** The first whole frame of HTTP/2, if it is all there. */
function firstFrame(bytes) {
  if (bytes.length < FRAME_HEADER_BYTES) {
    return undefined
  }
  const length = FRAME_HEADER_BYTES + bytes.readUIntBE(0, 3)
  return bytes.length < length ? undefined : bytes.subarray(0, length)
}
