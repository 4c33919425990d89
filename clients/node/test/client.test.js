// The client against a real server, and against a network that loses answers.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'

import { OfferRanker, OfferRankerError, ReportRefused } from 'offer-ranker'

import { startLosingProxy } from './flaky.js'
import { startServer } from './server.js'

// An offer of kind NONE would end the slate early.
const PLANS = ['standard-monthly', 'premium-monthly', 'annual-2-months-free']
// Patience: the machine may be busy.
const SETTINGS = { timeoutMs: 20_000 }

let server
let ranker

before(async () => {
  server = await startServer()
  ranker = new OfferRanker(server.target, SETTINGS)
})

after(async () => {
  ranker?.close()
  await server?.stop()
})

const ask = (userId, more = {}) => ({ placement: 'paywall', userId, market: 'SE', platform: 'web', ...more })
const shown = async ({ decisionId }) => (await ranker.storedDecision(decisionId)).slots.map((slot) => slot.shown)
const codes = (results) => results.map((result) => result.code)

test('a ranking is priced and typed', async () => {
  const attributes = { tenure_days: 30, channel: 'email', is_returning: true }
  const decision = await ranker.rank(ask('anna', { attributes }))
  assert.deepEqual(
    decision.offers.map((offer) => offer.slot),
    decision.offers.map((_, index) => index + 1),
  )
  for (const offer of decision.offers) {
    assert.ok(offer.propensity > 0 && offer.propensity <= 1)
    assert.equal(offer.expectedValue.currencyCode, 'EUR')
    assert.equal(offer.showsNothing, offer.offerId === 'none')
    assert.equal(offer.price?.currencyCode, offer.showsNothing ? undefined : 'SEK')
    assert.ok(offer.showsNothing || Number.isInteger(offer.price.amountMinor))
  }
  assert.ok(Math.abs(Date.now() - decision.decidedAt.getTime()) < 600_000)
  assert.deepEqual(decision.flags, [])
  assert.ok(decision.requestId.length > 0)
})

test('candidates, slots and tail are as asked for, and what is left out has a reason', async () => {
  const candidates = ['standard-monthly', 'premium-monthly', 'student-half-price', 'made-up']
  const decision = await ranker.rank(ask('bo', { platform: 'ios', candidates, slots: 1, includeTail: true }))
  const ranked = [...decision.offers, ...decision.tail].map((offer) => offer.offerId)
  assert.deepEqual(ranked.sort(), ['premium-monthly', 'standard-monthly'])
  const reasons = Object.fromEntries(decision.exclusions.map(({ offerId, reason }) => [offerId, reason]))
  assert.deepEqual(reasons, { 'student-half-price': 'PLATFORM', 'made-up': 'UNKNOWN_OFFER' })
})

test('what is known of the subscription decides what is offered', async () => {
  const candidates = ['trial-7-days', 'standard-monthly', 'premium-monthly']
  const known = { trialUsed: true, currentPlan: 'premium', lapsedAt: new Date() }
  const decision = await ranker.rank(ask('frida', { candidates, ...known }))
  assert.deepEqual(
    decision.offers.map(({ offerId }) => offerId),
    ['standard-monthly'],
  )
  assert.deepEqual(decision.exclusions, [
    { offerId: 'premium-monthly', reason: 'CURRENT_PLAN', ruleId: '' },
    { offerId: 'trial-7-days', reason: 'TRIAL_USED', ruleId: '' },
  ])
  await assert.rejects(ranker.rank(ask('frida', { lapsedAt: new Date('soon') })), TypeError)
})

test('protected attributes are sent and checked', async () => {
  const request = (gender) => ask('gerda', { placement: 'cancellation', protectedAttributes: { gender } })
  assert.ok((await ranker.rank(request('f'))).offers.length > 0)
  await assert.rejects(ranker.rank(request('made-up')), (error) => {
    assert.deepEqual(
      error.violations.map(({ field }) => field),
      ['protected_attributes.gender'],
    )
    return true
  })
})

test('a clipped attribute is flagged', async () => {
  const { flags } = await ranker.rank(ask('carl', { attributes: { tenure_days: 1e6 } }))
  assert.deepEqual(flags, ['ATTRIBUTE_CLIPPED'])
})

test('every violation is named and read by people', async () => {
  const attributes = { tenure_days: 'a month', shoe_size: 42 }
  await assert.rejects(ranker.rank(ask('', { attributes, market: 'XX', slots: 11 })), (error) => {
    assert.ok(error instanceof OfferRankerError)
    assert.deepEqual([error.code, error.reason], ['INVALID_ARGUMENT', 'INVALID_REQUEST'])
    const fields = error.violations.map(({ field }) => field).sort()
    assert.deepEqual(fields, ['attributes.shoe_size', 'attributes.tenure_days', 'market', 'slots', 'user_id'])
    assert.equal(error.message.split('\n').length, 6)
    assert.match(error.message, /^INVALID_ARGUMENT: the request is not valid\n/)
    return true
  })
})

test('an unknown placement is not found', async () => {
  const expected = { code: 'NOT_FOUND', reason: 'PLACEMENT_NOT_FOUND', message: /made-up/ }
  await assert.rejects(ranker.rank(ask('dora', { placement: 'made-up' })), expected)
})

test('an attribute of another type is refused before it is sent', async () => {
  const request = ask('emil', { attributes: { tenure_days: [30] } })
  await assert.rejects(ranker.rank(request), /attribute tenure_days is object/)
})

test('a server that is not there is unavailable within the deadline', async () => {
  // Nobody listens on port 1.
  const nobody = new OfferRanker('127.0.0.1:1', { timeoutMs: 500 })
  await assert.rejects(nobody.rank(ask('fia')), (error) => /UNAVAILABLE|DEADLINE_EXCEEDED/.test(error.code))
  nobody.close()
})

test('a ranking whose answer is lost is the same at the second try', async () => {
  const proxy = await startLosingProxy(server.target)
  const flaky = new OfferRanker(proxy.target, SETTINGS)
  proxy.loseTheNextAnswer()
  const decision = await flaky.rank(ask('greta'))
  assert.equal(proxy.lost, 1)
  // The server remembers the id, so the lost try and the second one were one decision.
  const again = await ranker.rank(ask('greta', { requestId: decision.requestId }))
  assert.deepEqual([again.decisionId, again.offers], [decision.decisionId, decision.offers])
  flaky.close()
  proxy.stop()
})

test('outcomes whose acknowledgement is lost count once', async () => {
  const proxy = await startLosingProxy(server.target)
  const flaky = new OfferRanker(proxy.target, SETTINGS)
  const { decisionId } = await flaky.rank(ask('hugo'))
  proxy.loseTheNextAnswer()
  const results = await flaky.recordOutcomes([{ decisionId, metric: 'conversion' }])
  assert.equal(proxy.lost, 1)
  assert.deepEqual(codes(results), ['DUPLICATE'], 'the lost try had recorded it')
  assert.deepEqual((await ranker.storedDecision(decisionId)).totals, { conversion: 1 })
  flaky.close()
  proxy.stop()
})

test('without retries a lost answer is an error', async () => {
  const proxy = await startLosingProxy(server.target)
  const flaky = new OfferRanker(proxy.target, { ...SETTINGS, retries: 0 })
  await flaky.rank(ask('ida'))
  proxy.loseTheNextAnswer()
  await assert.rejects(flaky.rank(ask('ida')), { code: 'UNAVAILABLE', reason: '' })
  flaky.close()
  proxy.stop()
})

test('outcomes count once and can be revised', async () => {
  const { decisionId, offers } = await ranker.rank(ask('johan', { candidates: PLANS }))
  const [{ offerId }] = offers
  const sale = { decisionId, metric: 'revenue', value: 99, currency: 'SEK', offerId, outcomeId: 'order-1' }
  const refund = { ...sale, value: 0, outcomeId: 'refund-1', revisesOutcomeId: 'order-1', occurredAt: new Date() }
  const [other, wrong] = [{ ...sale, value: 50 }, { ...sale, metric: 'made-up' }]
  const results = await ranker.recordOutcomes([sale, sale, other, refund, wrong])
  assert.deepEqual(codes(results), ['RECORDED', 'DUPLICATE', 'CONFLICT', 'REVISED', 'INVALID'])
  assert.match(results[4].message, /made-up/)
  assert.deepEqual((await ranker.storedDecision(decisionId)).slots[0].totals, { revenue: 0 })
})

test('long lists are sent in batches', async () => {
  const { decisionId } = await ranker.rank(ask('karin'))
  const outcome = (_, index) => ({ decisionId, metric: 'conversion', outcomeId: `event-${index % 3}` })
  const results = await ranker.recordOutcomes(Array.from({ length: 1003 }, outcome))
  assert.equal(results.length, 1003)
  assert.equal(codes(results).filter((code) => code === 'RECORDED').length, 3)
})

test('work that says nothing reports the whole slate as shown', async () => {
  // This placement assumes nothing: what is not reported was not shown.
  const upsell = ask('lars', { placement: 'checkout_upsell' })
  assert.deepEqual(await shown(await ranker.rank(upsell)), [false])
  const decision = await ranker.withDecision(upsell, (open) => open)
  assert.deepEqual(await shown(decision), [true])
})

test('work reports the slots that it says were shown', async () => {
  const decision = await ranker.withDecision(ask('maja', { candidates: PLANS }), async (open) => {
    open.shown(open.offers[0])
    open.shown(3)
    assert.throws(() => open.shown(4), /slots 4 are not in the slate, which has 1, 2, 3/)
    assert.throws(() => open.nothingShown(), /cannot be taken back/)
    return open
  })
  assert.deepEqual(await shown(decision), [true, false, true])
})

test('work can say that nothing was shown', async () => {
  const decision = await ranker.withDecision(ask('nils', { candidates: PLANS }), (open) => {
    open.nothingShown()
    return open
  })
  assert.deepEqual(await shown(decision), [false, false, false])
})

test('work that fails before showing reports nothing as shown, and its error comes through', async () => {
  let decision
  const work = (open) => {
    decision = open
    throw new Error('the page broke')
  }
  await assert.rejects(ranker.withDecision(ask('olga', { candidates: PLANS }), work), /the page broke/)
  assert.deepEqual(await shown(decision), [false, false, false])
})

test('work that fails after showing reports what was said', async () => {
  let decision
  const work = async (open) => {
    decision = open
    open.shown(1, 2)
    open.outcome('conversion', { offer: open.offers[1] })
    throw new Error('the page broke')
  }
  await assert.rejects(ranker.withDecision(ask('per', { candidates: PLANS }), work), /the page broke/)
  assert.deepEqual(await shown(decision), [true, true, false])
  assert.deepEqual((await ranker.storedDecision(decision.decisionId)).slots[1].totals, { conversion: 1 })
})

test('a report that the server does not take is an error', async () => {
  const work = (open) => open.outcome('made-up')
  await assert.rejects(ranker.withDecision(ask('rosa'), work), (error) => {
    assert.ok(error instanceof ReportRefused)
    assert.deepEqual(codes(error.results), ['INVALID', 'RECORDED'])
    return /INVALID: .*made-up/.test(error.message)
  })
})

for (const readme of ['../README.md', '../../../README.md']) {
  test(`the example of ${readme} works as it stands`, () => {
    const text = readFileSync(new URL(readme, import.meta.url), 'utf8')
    const [[, example], ...others] = text.matchAll(/^```js\n(.*?)^```$/gms)
    assert.equal(others.length, 0)
    assert.match(example, /127\.0\.0\.1:50051/)
    const script = example.replace("'127.0.0.1:50051'", `'${server.target}', ${JSON.stringify(SETTINGS)}`)
    const options = { cwd: new URL('..', import.meta.url), encoding: 'utf8' }
    assert.match(execFileSync(process.execPath, ['--input-type=module', '--eval', script], options), /^\[\s*'/)
  })
}

test('a packed package carries the wire format', () => {
  const options = { cwd: new URL('..', import.meta.url), encoding: 'utf8' }
  const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json', '--loglevel=error'], options))
  const packed = files.map(({ path }) => path)
  for (const name of ['money', 'ranking', 'feedback']) {
    assert.ok(packed.includes(`proto/offer_ranker/v1/${name}.proto`), packed.join(' '))
  }
})

test('a decision that is on its way is asked for again until time is up', async () => {
  // To a server with another store, a fresh decision is one that may still arrive.
  const { decisionId } = await ranker.rank(ask('sara'))
  const elsewhere = await startServer()
  const other = new OfferRanker(elsewhere.target, { timeoutMs: 3000 })
  const begun = performance.now()
  const [result] = await other.recordOutcomes([{ decisionId, metric: 'conversion' }])
  assert.equal(result.code, 'NOT_YET')
  // At least the first two pauses, of 25 to 50 and of 50 to 100 ms, were waited for.
  assert.ok(performance.now() - begun >= 75)
  other.close()
  await elsewhere.stop()
})

test('settings that make no sense are refused', () => {
  assert.throws(() => new OfferRanker('127.0.0.1:1', { timeoutMs: 0 }), /must be above 0/)
  assert.throws(() => new OfferRanker('127.0.0.1:1', { retries: -1 }), /0 or more/)
})
