// The page in a real browser, against a real server that allows its origin.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import { delimiter, join } from 'node:path'
import { after, before, test } from 'node:test'

import { chromium } from 'playwright-core'

import { startServer } from '../../node/test/server.js'

const DIST = join(import.meta.dirname, '../dist')
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', map: 'application/json' }
const PHONE = { width: 390, height: 844 }
// Patience: the machine may be busy.
const TIMEOUT_MS = 60_000
// No sandbox, since continuous integration runs as root; nothing that calls home.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const executablePath = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((directory) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(directory, name)))
  .find(existsSync)

/** Serves dist/ on a free port; the origin of its pages. */
async function startSite() {
  const site = http.createServer(async ({ url }, response) => {
    const name = new URL(url, 'http://site').pathname.slice(1) || 'index.html'
    try {
      const body = await readFile(join(DIST, name))
      response.writeHead(200, { 'content-type': TYPES[name.split('.').at(-1)] }).end(body)
    } catch {
      response.writeHead(404).end()
    }
  })
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  return { origin: `http://127.0.0.1:${site.address().port}`, close: () => site.close() }
}

let site
let stranger
let server
let browser

before(async () => {
  assert.ok(executablePath, 'no Chromium on the PATH; on Debian: apt install chromium')
  site = await startSite()
  stranger = await startSite()
  server = await startServer({ OFFER_RANKER_GRPC_WEB_ORIGINS: site.origin })
  browser = await chromium.launch({ executablePath, args: FLAGS, timeout: TIMEOUT_MS })
})

after(async () => {
  await browser?.close()
  await server?.stop()
  site?.close()
  stranger?.close()
})

/** The page of a site, on a phone; what its scripts complain of fails the test. */
async function open(from, t) {
  const context = await browser.newContext({ viewport: PHONE })
  context.setDefaultTimeout(TIMEOUT_MS)
  t.after(() => context.close())
  const page = await context.newPage()
  const complaints = []
  page.on('pageerror', (error) => complaints.push(error))
  t.after(() => assert.deepEqual(complaints, []))
  await page.goto(`${from.origin}/?server=http://${server.target}`)
  return page
}

/** Shows offers until there is one to choose: where the draw says so, there is none. */
async function offersToChoose(page) {
  const choose = page.getByRole('button', { name: /^Choose/ })
  do {
    await page.getByRole('button', { name: 'Show the offers' }).click()
    await page.getByRole('list').filter({ has: page.locator('.offer') }).waitFor()
    await page.locator('#viewer > button:enabled').waitFor()
  } while ((await choose.count()) === 0)
  return choose
}

async function screenshot(page, name) {
  // Somebody who wants to look says where to.
  if (process.env.SCREENSHOTS) {
    await page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`), fullPage: true })
  }
}

test('a page ranks, shows prices as people write them, and reports what is chosen', async (t) => {
  const page = await open(site, t)
  const choose = await offersToChoose(page)
  await screenshot(page, 'offers')
  for (const amount of await page.locator('.offer:not(.nothing) .amount').allTextContents()) {
    assert.match(amount, /^[\d\s,]+\skr$/)
  }
  const width = await page.evaluate(() => document.documentElement.scrollWidth)
  assert.equal(width, PHONE.width, 'the page fits on a phone')

  const headline = await page.locator('.offer:has(.choose) .headline').first().textContent()
  const outcome = page.waitForResponse((response) => response.url().endsWith('/RecordOutcomes'))
  await choose.first().click()
  assert.equal((await outcome).status(), 200)
  await page.getByText(`Thank you! “${headline}” is yours.`).waitFor()
  assert.equal(await page.getByRole('button', { name: /^Choose/ }).first().isDisabled(), true)
  await screenshot(page, 'chosen')
})

test('everything that is wrong is said beside its field', async (t) => {
  const page = await open(site, t)
  await page.getByLabel('User').fill('')
  await page.getByLabel('Days since sign-up').fill('a month')
  await page.getByRole('button', { name: 'Show the offers' }).click()
  const alert = page.getByRole('alert')
  await alert.getByText(/^user_id /).waitFor()
  await alert.getByText(/^attributes.tenure_days /).waitFor()
  assert.equal(await page.getByLabel('User').getAttribute('aria-invalid'), 'true')
  assert.ok((await page.locator('#user-violation').textContent()).length > 0)
  await screenshot(page, 'refused')

  await page.getByLabel('User').fill('user-2')
  await page.getByLabel('Days since sign-up').fill('30')
  await offersToChoose(page)
  assert.equal(await alert.isVisible(), false, 'what is mended is no longer complained of')
})

test('a page of another origin gets nothing but an explanation that it failed', async (t) => {
  const page = await open(stranger, t)
  await page.getByRole('button', { name: 'Show the offers' }).click()
  await page.getByRole('alert').getByRole('heading').filter({ hasText: /./ }).waitFor()
  assert.equal(await page.locator('#slate').isVisible(), false)
})
