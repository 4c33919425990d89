// Between the wire's messages and the client's values; nothing is judged here, that is the server's business.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import grpc from '@grpc/grpc-js'
import protoLoader from '@grpc/proto-loader'

/** In a packed package the wire format lies beside the source; in the project's tree it is the project's own. */
const PROTO = ['../proto', '../../../proto']
  .map((path) => fileURLToPath(new URL(path, import.meta.url)))
  .find((path) => existsSync(path))

const definition = protoLoader.loadSync(
  ['offer_ranker/v1/ranking.proto', 'offer_ranker/v1/feedback.proto'],
  // Whole minor units of money stay exact up to 2^53, which is more money than there is.
  { includeDirs: [PROTO], longs: Number, enums: String, defaults: true },
)

/** Constructors of the clients of both services. */
export const { RankingService, FeedbackService } = grpc.loadPackageDefinition(definition).offer_ranker.v1

const FLAG = 'FLAG_'
const EXCLUSION_REASON = 'EXCLUSION_REASON_'
const FEEDBACK_CODE = 'FEEDBACK_CODE_'

/** An enumeration's value without its prefix; a number that this version does not know yet is UNSPECIFIED. */
const named = (value, prefix) => (typeof value === 'string' ? value.slice(prefix.length) : 'UNSPECIFIED')

/** A request to rank, with its id. */
export function rankRequest({ attributes = {}, candidates = [], lapsedAt, ...request }) {
  return {
    ...request,
    lapsedAt: lapsedAt && timestamp('lapsedAt', lapsedAt),
    candidateOfferIds: candidates,
    attributes: Object.fromEntries(Object.entries(attributes).map(([name, value]) => [name, attribute(name, value)])),
  }
}

function attribute(name, value) {
  switch (typeof value) {
    case 'number':
      return { numberValue: value }
    case 'string':
      return { stringValue: value }
    case 'boolean':
      return { boolValue: value }
    default:
      throw new TypeError(`attribute ${name} is ${typeof value}; it must be a number, a string or a boolean`)
  }
}

/** An answer. */
export function decision(response, requestId = '') {
  const exclusions = response.exclusions.map(({ offerId, reason, ruleId }) => ({
    offerId,
    reason: named(reason, EXCLUSION_REASON),
    ruleId,
  }))
  return {
    decisionId: response.decisionId,
    requestId,
    offers: response.offers.map(offer),
    tail: response.tail.map(offer),
    exclusions,
    flags: response.flags.map((flag) => named(flag, FLAG)),
    disclosureTextKey: response.disclosureTextKey,
    rootDecisionId: response.rootDecisionId,
    leaseUntil: response.leaseUntil ? date(response.leaseUntil) : null,
    catalogRevision: response.catalogRevision,
    snapshotAgeMs: response.snapshotAgeMs,
    decidedAt: date(response.decidedAt),
  }
}

function date({ seconds, nanos }) {
  return new Date(seconds * 1000 + nanos / 1e6)
}

/** One offer of an answer. Only one of kind NONE has no price. */
function offer(ranked) {
  const { offerId, slot, propensity, expectedReward, expectedValue, price, listPrice, display } = ranked
  const money = { expectedValue, price, listPrice }
  return { offerId, slot, propensity, expectedReward, ...money, display, showsNothing: price === null }
}

/** A decision with what was reported on it. */
export function storedDecision({ decision: answered, slots, totals, closed }) {
  return { decision: decision(answered), slots, totals, closed }
}

/** One outcome; what it leaves out is the caller's business, but for the id. */
export function outcome({ occurredAt, value = 1, ...reported }) {
  return { ...reported, value, occurredAt: occurredAt && timestamp('occurredAt', occurredAt) }
}

function timestamp(name, date) {
  const ms = date.getTime()
  if (Number.isNaN(ms)) {
    throw new TypeError(`${name} is an invalid Date`)
  }
  const seconds = Math.floor(ms / 1000)
  return { seconds, nanos: (ms - seconds * 1000) * 1e6 }
}

/** What became of a report. */
export function feedbackResult({ code, message }) {
  return { code: named(code, FEEDBACK_CODE), message }
}
