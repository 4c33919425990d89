// A decision while it is being shown: what is said of it until the showing ends.

import { randomUUID } from 'node:crypto'

/** What `withDecision` hands out; index.d.ts says what it reports when. */
export class OpenDecision {
  /** Slots that were said to be shown; undefined: nothing was said. */
  #shown
  #outcomes = []

  constructor(decision) {
    Object.assign(this, decision)
  }

  shown(...offers) {
    const slots = offers.map((offer) => (typeof offer === 'number' ? offer : offer.slot))
    const slate = this.offers.map((offer) => offer.slot)
    const foreign = slots.filter((slot) => !slate.includes(slot))
    if (foreign.length > 0) {
      throw new RangeError(`slots ${foreign.join(', ')} are not in the slate, which has ${slate.join(', ') || 'none'}`)
    }
    this.#shown = new Set([...(this.#shown ?? []), ...(slots.length > 0 ? slots : slate)])
  }

  nothingShown() {
    if (this.#shown?.size > 0) {
      throw new RangeError(`slots ${[...this.#shown].join(', ')} have been shown already; that cannot be taken back`)
    }
    this.#shown = new Set()
  }

  outcome(metric, { value = 1, offer = '', outcomeId = randomUUID(), ...rest } = {}) {
    const offerId = typeof offer === 'string' ? offer : offer.offerId
    this.#outcomes.push({ ...rest, decisionId: this.decisionId, metric, value, offerId, outcomeId })
    return outcomeId
  }

  /** What there is to report, where the work on it failed or did not. */
  reports(failed) {
    // Nothing can be learned from it, and the server would only say so.
    if (this.flags.includes('NOT_LOGGED')) {
      return { outcomes: [], exposures: [] }
    }
    const slate = failed ? [] : this.offers.map((offer) => offer.slot)
    const slots = [...(this.#shown ?? slate)].sort((a, b) => a - b)
    // Without a slate there is nothing that could have been shown.
    const exposures = this.offers.length > 0 ? [{ decisionId: this.decisionId, slots }] : []
    return { outcomes: this.#outcomes, exposures }
  }
}
