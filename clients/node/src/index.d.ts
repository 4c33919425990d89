/** Client of Offer Ranker: which subscription offers to show to a user, and what came of it. */

import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js'

/** What an attribute may be, as the placement's context schema declares it. */
export type AttributeValue = number | string | boolean

export interface Settings {
  /** Bounds every operation, all its tries and pauses together; default 1000. */
  timeoutMs?: number
  /** Further tries of a call that failed with UNAVAILABLE or DEADLINE_EXCEEDED, with the same ids; default 2. */
  retries?: number
  /** Default: not encrypted. */
  credentials?: ChannelCredentials
  channelOptions?: ChannelOptions
}

/** Who is looking at which placement. What is left out takes the catalog's default. */
export interface RankRequest {
  placement: string
  /** The user whose outcomes will be reported. */
  userId: string
  /** What groups and partitions hash on, such as a device before login; default: the user. */
  unitId?: string
  attributes?: Record<string, AttributeValue>
  market?: string
  platform?: string
  /** Offers to choose from; default: all of the placement. */
  candidates?: readonly string[]
  /** Whether the user has ever used a trial: there is one in a lifetime. */
  trialUsed?: boolean
  /** The plan that the user has, which is then not offered; empty: none. */
  currentPlan?: string
  /** When the user's last subscription ended: win-backs go to those who left. */
  lapsedAt?: Date
  /** Decide nothing: the placement counts by them whether people of all kinds fare alike. */
  protectedAttributes?: Record<string, string>
  /** How many slots to fill; default: all of the placement. */
  slots?: number
  /** Makes a retry return the first answer; generated unless given. Give your own to hedge a call. */
  requestId?: string
  /** Adds the other eligible offers, by falling expected value. */
  includeTail?: boolean
}

/** An amount in minor units: 99.00 SEK is 9900, 900 JPY is 900. ISO 4217 says how many make a major one. */
export interface Money {
  currencyCode: string
  amountMinor: number
}

export interface Offer {
  offerId: string
  /** Position from 1; 0 in the tail. */
  slot: number
  /** The probability with which it was drawn for its slot, given the slots above; 0 in the tail. */
  propensity: number
  /** Posterior mean of the placement's reward, in the reward's own unit. */
  expectedReward: number
  /** What showing it is expected to earn, in the catalog's reward currency. */
  expectedValue: Money | null
  /** What the user pays; null for an offer of kind NONE alone. */
  price: Money | null
  /** The price without the discount, equal to `price` where there is none; null for an offer of kind NONE alone. */
  listPrice: Money | null
  /** Texts and hints, verbatim from the catalog. */
  display: Record<string, string>
  /** Whether this is the offer of kind NONE: show nothing from its slot on. It counts as shown all the same. */
  showsNothing: boolean
}

/** Why a candidate may not be shown. UNSPECIFIED stands for what this version does not know. */
export type ExclusionReason =
  | 'UNSPECIFIED'
  | 'UNKNOWN_OFFER'
  | 'PAUSED'
  | 'NOT_STARTED'
  | 'ENDED'
  | 'NO_PRICE_IN_MARKET'
  | 'PLATFORM'
  | 'TRIAL_USED'
  | 'CURRENT_PLAN'
  | 'DISCOUNT_TOO_DEEP'
  | 'BELOW_FLOOR'
  | 'NOT_LAPSED'
  | 'LAPSE_TOO_SHORT'
  | 'LAPSE_TOO_LONG'
  | 'RULE'
  | 'LEGAL_RULE'
  | 'RULE_ERROR'
  | 'CAPPED'
  | 'COOLING_DOWN'
  | 'LIMIT_UNCHECKED'
  | 'PRICE_HELD'

/** Circumstances of a decision that are worth knowing. */
export type Flag =
  | 'UNSPECIFIED'
  | 'STALE'
  | 'ATTRIBUTE_CLIPPED'
  | 'DEGRADED'
  | 'NOT_LOGGED'
  | 'PERSONALISED_PRICES'
  | 'NEUTRAL_CONTEXT'
  | 'BOUNDS_RELAXED'
  | 'LEASED'
  | 'STATE_UNKNOWN'

/** One answered `rank`. */
export interface Decision {
  /** What outcomes and exposures are reported on, also days later: store it with the order. */
  decisionId: string
  /** Given or generated; empty in a `StoredDecision`. */
  requestId: string
  /** By slot from 1; empty where nothing may be shown. */
  offers: Offer[]
  tail: Offer[]
  /** Every candidate that may not be shown, and why; `ruleId` is empty where the reason is no rule of the catalog. */
  exclusions: { offerId: string; reason: ExclusionReason; ruleId: string }[]
  /** Empty in normal operation. */
  flags: Flag[]
  /** With PERSONALISED_PRICES: which of your texts tells the user; empty otherwise. */
  disclosureTextKey: string
  /** With LEASED: the decision whose offers this one repeats; reports on either are credited to it. Empty otherwise. */
  rootDecisionId: string
  /** Until when this user is answered with these offers, at these prices or lower ones; null where nothing stands. */
  leaseUntil: Date | null
  catalogRevision: number
  snapshotAgeMs: number
  /** The windows in which outcomes count are measured from here. */
  decidedAt: Date
}

/** What is known of an outcome besides its decision and metric. */
export interface OutcomeDetails {
  /** A count, an amount in major units of `currency` (12.50), or another finite number; default 1. */
  value?: number
  /** ISO 4217; needed for money metrics, refused for others. */
  currency?: string
  /** Default: when the report arrives. */
  occurredAt?: Date
  /** 1 to 128 bytes, unique within the decision, such as an order number; generated unless given. */
  outcomeId?: string
  /** The outcome that this one replaces: a sale that became a refund has a revision of value 0. */
  revisesOutcomeId?: string
}

/** Something that happened after a decision. Reporting it again under the same id is harmless. */
export interface Outcome extends OutcomeDetails {
  decisionId: string
  metric: string
  /** The offer of the slate that it belongs to; default: the whole decision, credited to the lead slot. */
  offerId?: string
}

/** Which slots of a decision were shown, from 1; none: nothing was. */
export interface Exposure {
  decisionId: string
  slots: readonly number[]
}

/** What became of one report. UNSPECIFIED stands for what this version does not know. */
export type FeedbackCode =
  | 'UNSPECIFIED'
  | 'RECORDED'
  | 'REVISED'
  | 'DUPLICATE'
  | 'CONFLICT'
  | 'LATE'
  | 'NOT_YET'
  | 'UNKNOWN_DECISION'
  | 'INVALID'
  | 'NOT_LOGGED'

export interface FeedbackResult {
  code: FeedbackCode
  /** What was wrong and what to do; empty where nothing was. */
  message: string
}

/** A decision as it was answered, and what has been reported on it since. */
export interface StoredDecision {
  decision: Decision
  slots: { slot: number; offerId: string; shown: boolean; totals: Record<string, number> }[]
  /** Sums of outcomes on the whole decision, by metric. */
  totals: Record<string, number>
  /** Whether the windows for outcomes are over. */
  closed: boolean
}

/**
 * A decision inside `withDecision`. When the work on it ends, this is reported as shown, once:
 *
 * | the work ended | reported as shown |
 * |---|---|
 * | normally, nothing said | the whole slate |
 * | normally, after `shown(...)` | the slots that were given to it, all calls together |
 * | normally, after `nothingShown()` | nothing |
 * | with an exception | only what `shown(...)` had said by then: otherwise nothing, and nothing is learned from it |
 *
 * Outcomes recorded with `outcome()` are sent then too, in one call, however the work ended. An outcome on an offer
 * implies that it was shown. Recording none is right where nothing happened: what was shown without an outcome counts
 * as not taken. On a decision that is flagged NOT_LOGGED nothing is reported.
 */
export interface OpenDecision extends Decision {
  /** Says that these offers, or slots from 1, have been shown; without any, the whole slate. */
  shown(...offers: (Offer | number)[]): void
  /** Says that nothing of the slate was shown. */
  nothingShown(): void
  /** Records an outcome and returns its id; without an offer it is credited to the lead slot. */
  outcome(metric: string, details?: OutcomeDetails & { offer?: Offer | string }): string
}

/** A connection to Offer Ranker; make one and share it. Calls reject with `OfferRankerError`. */
export class OfferRanker {
  /** `target` is host:port. Throws RangeError for settings that make no sense. */
  constructor(target: string, settings?: Settings)

  /** Decides which offers to show, in which order. Nothing to show is not an error: see `exclusions`. */
  rank(request: RankRequest): Promise<Decision>

  /**
   * Ranks, works, and reports; resolves to what the work does. Rejects with `ReportRefused` where the server did not
   * take a report. Where the work itself fails, its error comes through, and failing reports are process warnings.
   */
  withDecision<T>(request: RankRequest, work: (decision: OpenDecision) => Promise<T> | T): Promise<T>

  /** A decision as it was answered: to verify what is about to be charged. */
  storedDecision(decisionId: string): Promise<StoredDecision>

  /**
   * Reports outcomes, as many as you like; the results come in their order, and a refused outcome is a result. NOT_YET
   * is tried again while there is time: seeing it means that the same outcomes should be sent again later.
   */
  recordOutcomes(outcomes: readonly Outcome[]): Promise<FeedbackResult[]>

  /** Reports which slots were shown. The first report replaces what the placement assumes, later ones add to it. */
  recordExposures(exposures: readonly Exposure[]): Promise<FeedbackResult[]>

  /** Ends the connection. */
  close(): void
}

/** A call that failed, after all retries. */
export class OfferRankerError extends Error {
  /** Name of the gRPC status code, such as `INVALID_ARGUMENT`. */
  readonly code: string
  /** In one machine-readable word, such as `PLACEMENT_NOT_FOUND`; empty where the server was not reached. */
  readonly reason: string
  /** Everything that is wrong with the request, by field. */
  readonly violations: readonly { field: string; description: string }[]
  /** How long the server asks to wait before another try. */
  readonly retryAfterMs: number
}

/** Reports that the server did not take. */
export class ReportRefused extends Error {
  /** What became of each report, in order. */
  readonly results: readonly FeedbackResult[]
}

/** Whether a report is stored for good: RECORDED, REVISED or DUPLICATE. */
export function isAcknowledged(result: FeedbackResult): boolean
