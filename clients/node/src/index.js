// The client: one channel, every call with ids and a deadline. index.d.ts documents all of it.

import { randomUUID } from 'node:crypto'

import grpc from '@grpc/grpc-js'

import { OpenDecision } from './decision.js'
import { OfferRankerError, ReportRefused, isAcknowledged } from './errors.js'
import { Deadline, RETRIED, call } from './retry.js'
import * as wire from './wire.js'

export { OfferRankerError, ReportRefused, isAcknowledged }

/** Reports that the server takes in one call. */
const BATCH_MAX = 1000
/** A lost connection is tried again as soon as a lost call is. */
const RECONNECT = { 'grpc.initial_reconnect_backoff_ms': 50, 'grpc.max_reconnect_backoff_ms': 1000 }

export class OfferRanker {
  #ranking
  #feedback
  #timeoutMs
  #retries

  constructor(target, { timeoutMs = 1000, retries = 2, credentials, channelOptions } = {}) {
    if (!(timeoutMs > 0)) {
      throw new RangeError(`timeoutMs is ${timeoutMs}; it must be above 0`)
    }
    if (!Number.isInteger(retries) || retries < 0) {
      throw new RangeError(`retries is ${retries}; it must be a whole number, 0 or more`)
    }
    this.#timeoutMs = timeoutMs
    this.#retries = retries
    const options = { ...RECONNECT, ...channelOptions }
    const trusted = credentials ?? grpc.credentials.createInsecure()
    this.#ranking = new wire.RankingService(target, trusted, options)
    // Both services over one connection.
    this.#feedback = new wire.FeedbackService(target, trusted, { channelOverride: this.#ranking.getChannel() })
  }

  async rank({ requestId = randomUUID(), ...request }) {
    const response = await this.#call(this.#ranking, 'rank', wire.rankRequest({ ...request, requestId }))
    return wire.decision(response, requestId)
  }

  async withDecision(request, work) {
    const decision = new OpenDecision(await this.rank(request))
    let result
    try {
      result = await work(decision)
    } catch (error) {
      await this.#report(decision.reports(true)).catch((failed) => {
        const said = `a decision's reports failed while ${error} was on its way: ${failed.message}`
        process.emitWarning(said, 'OfferRanker')
      })
      throw error
    }
    await this.#report(decision.reports(false))
    return result
  }

  async storedDecision(decisionId) {
    return wire.storedDecision(await this.#call(this.#ranking, 'getDecision', { decisionId }))
  }

  async recordOutcomes(outcomes) {
    const identified = outcomes.map(({ outcomeId = randomUUID(), ...rest }) => wire.outcome({ ...rest, outcomeId }))
    return this.#record('recordOutcomes', 'outcomes', identified)
  }

  async recordExposures(exposures) {
    return this.#record('recordExposures', 'exposures', exposures)
  }

  close() {
    this.#ranking.close()
    this.#feedback.close()
  }

  /** Everything that there is to report on one decision: what happened first, since it says the most. */
  async #report({ outcomes, exposures }) {
    const results = [...(await this.recordOutcomes(outcomes)), ...(await this.recordExposures(exposures))]
    if (!results.every(isAcknowledged)) {
      throw new ReportRefused(results)
    }
  }

  async #record(method, field, reports) {
    const results = new Array(reports.length)
    for (let start = 0; start < reports.length; start += BATCH_MAX) {
      // Every batch has the whole time: a long list takes longer than a short one.
      const deadline = new Deadline(this.#timeoutMs)
      let pending = [...reports.keys()].slice(start, start + BATCH_MAX)
      for (let tries = 1; pending.length > 0; tries += 1) {
        const request = { [field]: pending.map((index) => reports[index]) }
        const response = await this.#call(this.#feedback, method, request, deadline).catch((error) => {
          if (tries === 1 || !RETRIED.has(error.code)) {
            throw error
          }
        })
        if (!response) {
          // Time was up in the midst of asking again: what is known of these reports is still NOT_YET.
          break
        }
        pending.forEach((index, position) => {
          results[index] = wire.feedbackResult(response.results[position])
        })
        pending = pending.filter((index) => results[index].code === 'NOT_YET')
        if (pending.length > 0 && !(await deadline.wait(tries))) {
          break
        }
      }
    }
    return results
  }

  #call(service, method, request, deadline = new Deadline(this.#timeoutMs)) {
    return call(service, method, request, { deadline, retries: this.#retries })
  }
}
