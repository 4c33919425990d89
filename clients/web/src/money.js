// Amounts as people write them.

/**
 * Decimals of the currencies that do not have two (ISO 4217). The browser's own number of decimals is not asked, since
 * it is what people write, not what a minor unit is: Iraqi dinars have three and are written with none.
 */
const CODES = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF',
  3: 'BHD IQD JOD KWD LYD OMR TND',
  4: 'CLF UYW',
}
const DECIMALS = new Map(
  Object.entries(CODES).flatMap(([decimals, codes]) => codes.split(' ').map((code) => [code, Number(decimals)])),
)

/** An amount in minor units as text: 11900 SEK is "119 kr" in Sweden. */
export function formatted({ currencyCode, amountMinor }, locale) {
  const decimals = DECIMALS.get(currencyCode) ?? 2
  const format = new Intl.NumberFormat(locale, {
    style: 'currency',
    currency: currencyCode,
    currencyDisplay: 'narrowSymbol',
    maximumFractionDigits: decimals,
    trailingZeroDisplay: 'stripIfInteger',
  })
  return format.format(Number(amountMinor) / 10 ** decimals)
}
