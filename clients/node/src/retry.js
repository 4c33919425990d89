// When to try again, and when no more.
//
// One deadline holds for a whole operation, however many tries it takes. A try gets its share of the time that is left:
// all of it where it is the last, so that a lost answer is noticed while there is time for another try.

import { setTimeout as sleep } from 'node:timers/promises'

import { fromCall } from './errors.js'

/** Codes that say nothing about the request. Trying again is harmless, because every request carries its ids. */
export const RETRIED = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED'])
const FIRST_BACKOFF_MS = 50
const LONGEST_BACKOFF_MS = 1000

/** The time that one operation has. */
export class Deadline {
  #ends

  constructor(timeoutMs) {
    this.#ends = performance.now() + timeoutMs
  }

  /** Milliseconds left, at least 0. */
  remainingMs() {
    return Math.max(0, this.#ends - performance.now())
  }

  /**
   * Sleeps before the next try; false, at once, where no time would be left for it.
   *
   * The pause doubles from try to try, and half of it is left to chance so that clients do not come back together.
   */
  async wait(tries, atLeastMs = 0) {
    const longest = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (tries - 1))
    const pause = Math.max(atLeastMs, longest * (0.5 + Math.random() / 2))
    if (pause >= this.remainingMs()) {
      return false
    }
    await sleep(pause)
    return true
  }
}

/** Calls a method until it answers, fails for good, or has no tries or time left; the error is that of the last try. */
export async function call(service, method, request, { deadline, retries }) {
  for (let tries = 1; ; tries += 1) {
    const timeoutMs = deadline.remainingMs() / (retries - tries + 2)
    try {
      return await once(service, method, request, timeoutMs)
    } catch (failed) {
      const error = fromCall(failed)
      const again = RETRIED.has(error.code) && tries <= retries && (await deadline.wait(tries, error.retryAfterMs))
      if (!again) {
        throw error
      }
    }
  }
}

function once(service, method, request, timeoutMs) {
  return new Promise((resolve, reject) => {
    service[method](request, { deadline: Date.now() + timeoutMs }, (error, response) => {
      if (error) {
        reject(error)
      } else {
        resolve(response)
      }
    })
  })
}
