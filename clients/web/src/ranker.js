// The service, as the page calls it: every call with ids of its own, so that trying again changes nothing.

import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createGrpcWebTransport } from '@connectrpc/connect-web'

import { BadRequestSchema } from './gen/google/rpc/error_details_pb.js'
import { FeedbackCode, FeedbackService } from './gen/offer_ranker/v1/feedback_pb.js'
import { RankingService } from './gen/offer_ranker/v1/ranking_pb.js'

const TIMEOUT_MS = 3000
const TRIES = 3
const PAUSE_MS = 150
const TRIED_AGAIN = new Set([Code.Unavailable, Code.DeadlineExceeded])
const ACKNOWLEDGED = new Set([FeedbackCode.RECORDED, FeedbackCode.DUPLICATE])

/** What to tell people about a call that failed. */
export class Problem extends Error {
  /** `violations` are pairs of field and description. */
  constructor(message, violations = []) {
    super(message)
    this.violations = violations
  }
}

/** The service at an address such as http://127.0.0.1:50051. */
export function connect(baseUrl) {
  const transport = createGrpcWebTransport({ baseUrl, defaultTimeoutMs: TIMEOUT_MS })
  const ranking = createClient(RankingService, transport)
  const feedback = createClient(FeedbackService, transport)
  return {
    /** Decides what to show. */
    rank(request) {
      const requestId = crypto.randomUUID()
      return tried(() => ranking.rank({ ...request, requestId }))
    },

    /** Reports that an offer was taken. */
    async converted(decisionId, offerId) {
      // One id for one offer of one decision: a second click, or a reload, is the same conversion.
      const outcome = { outcomeId: `conversion-${offerId}`, decisionId, offerId, metric: 'conversion', value: 1 }
      const { results } = await tried(() => feedback.recordOutcomes({ outcomes: [outcome] }))
      if (!ACKNOWLEDGED.has(results[0].code)) {
        throw new Problem(`Your choice was not recorded: ${results[0].message}`)
      }
    },
  }
}

async function tried(call) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await call()
    } catch (failed) {
      const error = ConnectError.from(failed)
      if (!TRIED_AGAIN.has(error.code) || tries === TRIES) {
        throw problem(error)
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries))
    }
  }
}

function problem(error) {
  const violations = error
    .findDetails(BadRequestSchema)
    .flatMap((request) => request.fieldViolations)
    .map(({ field, description }) => [field, description])
  return new Problem(violations.length > 0 ? 'Please look at this again:' : error.rawMessage, violations)
}
