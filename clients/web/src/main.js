// A demo paywall: asks what to show to a user, shows it, and reports what is chosen.
//
// The server is that of ?server=http://host:port, or the one that the README starts. It must allow this page's origin
// (--grpc-web-origins). The placement assumes that what is ranked is shown, so only choices are reported.

import { formatted } from './money.js'
import { connect } from './ranker.js'

const DEFAULT_SERVER = 'http://127.0.0.1:50051'
const LOCALES = { SE: 'sv-SE', DE: 'de-DE', US: 'en-US' }

const $ = (id) => document.getElementById(id)
const ranker = connect(new URLSearchParams(location.search).get('server') ?? DEFAULT_SERVER)
const form = $('viewer')

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  clear()
  const submit = form.querySelector('button')
  submit.disabled = true
  try {
    const request = requestOf(new FormData(form))
    show(await ranker.rank(request), LOCALES[request.market])
  } catch (problem) {
    complain(problem)
  } finally {
    submit.disabled = false
  }
})

/** What the form says; a number that is none goes as it is, so that the server can say what is wrong with it. */
function requestOf(data) {
  const tenure = data.get('attributes.tenure_days').trim()
  const number = Number(tenure)
  const text = (value) => ({ kind: { case: 'stringValue', value } })
  const attributes = { channel: text(data.get('attributes.channel')) }
  if (tenure !== '') {
    attributes.tenure_days = Number.isNaN(number) ? text(tenure) : { kind: { case: 'numberValue', value: number } }
  }
  return { placement: 'paywall', platform: 'web', userId: data.get('user_id'), market: data.get('market'), attributes }
}

function show(decision, locale) {
  $('offers').replaceChildren(...decision.offers.map((offer) => card(decision, offer, locale)))
  if (decision.offers.length === 0) {
    $('offers').append(nothing('There is nothing to offer here right now.'))
  }
  $('colophon').textContent =
    `Decision ${decision.decisionId} of catalog revision ${decision.catalogRevision}, by ` +
    `${decision.offers.length === 1 ? 'one draw' : `${decision.offers.length} draws`} with the probabilities above.`
  $('slate').hidden = false
  $('offers-heading').focus()
}

function card(decision, offer, locale) {
  // Only the offer of kind NONE has no price: the draw ended the slate here.
  if (!offer.price) {
    const text = offer.slot === 1 ? 'No offer this time: enjoy what you have.' : 'And nothing else tonight.'
    return nothing(`${text} ${odds(offer, locale)}`)
  }
  const item = $('offer').content.firstElementChild.cloneNode(true)
  const fill = (name, text) => {
    item.querySelector(name).textContent = text
  }
  const { headline, badge, terms } = offer.display
  const discounted = offer.listPrice && offer.listPrice.amountMinor !== offer.price.amountMinor
  item.classList.toggle('lead', offer.slot === 1)
  item.dataset.offerId = offer.offerId
  fill('.badge', badge ?? '')
  fill('.headline', headline ?? named(offer.offerId))
  fill('.amount', formatted(offer.price, locale))
  fill('.list-price', discounted ? formatted(offer.listPrice, locale) : '')
  fill('.terms', terms ?? '')
  fill('.odds', odds(offer, locale))
  const choose = item.querySelector('.choose')
  choose.setAttribute('aria-label', `Choose ${headline ?? named(offer.offerId)}`)
  choose.addEventListener('click', () => take(decision, offer, item))
  return item
}

async function take(decision, offer, item) {
  const buttons = [...$('offers').querySelectorAll('.choose')]
  const chosen = item.querySelector('.choose')
  clear()
  buttons.forEach((button) => {
    button.disabled = true
  })
  try {
    await ranker.converted(decision.decisionId, offer.offerId)
    item.classList.add('chosen')
    chosen.textContent = 'Chosen'
    $('confirmation').textContent = `Thank you! “${item.querySelector('.headline').textContent}” is yours.`
  } catch (problem) {
    buttons.forEach((button) => {
      button.disabled = false
    })
    complain(problem)
  }
}

function nothing(text) {
  const item = document.createElement('li')
  item.className = 'offer nothing'
  item.textContent = text
  return item
}

/** "standard-monthly" as people would say it. */
function named(offerId) {
  const words = offerId.replaceAll('-', ' ')
  return words[0].toUpperCase() + words.slice(1)
}

function odds(offer, locale) {
  const percent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 })
  return `Drawn with a probability of ${percent.format(offer.propensity)}`
}

function complain(problem) {
  $('problem-heading').textContent = problem.message
  const line = ([field, description]) => {
    const item = document.createElement('li')
    item.textContent = `${field} ${description}`
    return item
  }
  const violations = problem.violations ?? []
  $('problem-list').replaceChildren(...violations.map(line))
  $('problem').hidden = false
  for (const [field, description] of violations) {
    const input = form.elements.namedItem(field)
    if (input) {
      const note = $(`${input.id}-violation`)
      input.setAttribute('aria-invalid', 'true')
      input.setAttribute('aria-describedby', note.id)
      note.textContent = description
      note.hidden = false
    }
  }
  form.querySelector('[aria-invalid]')?.focus()
}

function clear() {
  $('problem').hidden = true
  $('confirmation').textContent = ''
  for (const input of form.querySelectorAll('[aria-invalid]')) {
    input.removeAttribute('aria-invalid')
    input.removeAttribute('aria-describedby')
  }
  for (const note of form.querySelectorAll('.violation')) {
    note.hidden = true
  }
}
