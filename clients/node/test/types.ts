// Not run: the type checker reads it, as it would a caller's code.

import { type FeedbackCode, OfferRanker, OfferRankerError } from 'offer-ranker'

export async function paywall(ranker: OfferRanker): Promise<string | undefined> {
  const attributes = { tenure_days: 30, is_returning: true }
  const known = { trialUsed: true, lapsedAt: new Date(), protectedAttributes: { gender: 'f' } }
  const request = { placement: 'paywall', userId: 'user-1', attributes, ...known }
  return ranker.withDecision(request, async (decision) => {
    const [lead] = decision.offers
    if (lead === undefined || lead.showsNothing) {
      decision.nothingShown()
      return undefined
    }
    decision.shown(lead)
    const currency: string | undefined = lead.price?.currencyCode
    return decision.outcome('revenue', { value: 99, currency, offer: lead, occurredAt: new Date() })
  })
}

export async function later(ranker: OfferRanker, decisionId: string): Promise<FeedbackCode[]> {
  const results = await ranker.recordOutcomes([{ decisionId, metric: 'conversion', revisesOutcomeId: 'order-1' }])
  return results.map((result) => result.code)
}

export function reasonOf(error: unknown): string {
  return error instanceof OfferRankerError ? `${error.reason}: ${error.violations.map(({ field }) => field)}` : ''
}

export async function mistakes(ranker: OfferRanker): Promise<void> {
  // @ts-expect-error a user is needed
  await ranker.rank({ placement: 'paywall' })
  // @ts-expect-error an attribute is no list
  await ranker.rank({ placement: 'paywall', userId: 'user-1', attributes: { tenure_days: [30] } })
  // @ts-expect-error a decision is needed
  await ranker.recordOutcomes([{ metric: 'conversion' }])
}
