// What can go wrong, with everything that the server said about it.

import grpc from '@grpc/grpc-js'
import protobuf from 'protobufjs'

/** The details of a gRPC status that the server sends, as google.rpc defines them; other fields are skipped. */
const { root } = protobuf.parse(`
  syntax = "proto3";
  message Status { repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message ErrorInfo { string reason = 1; }
  message BadRequest {
    repeated FieldViolation field_violations = 1;
    message FieldViolation { string field = 1; string description = 2; }
  }
  message RetryInfo { Duration retry_delay = 1; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
`)
const PREFIX = 'type.googleapis.com/google.rpc.'
const ACKNOWLEDGED = new Set(['RECORDED', 'REVISED', 'DUPLICATE'])

/** A call that failed, after all retries. */
export class OfferRankerError extends Error {
  name = 'OfferRankerError'

  constructor(code, message, { reason = '', violations = [], retryAfterMs = 0 } = {}) {
    const lines = violations.map(({ field, description }) => `  ${field}: ${description}`)
    super(lines.length > 1 ? [`${code}: the request is not valid`, ...lines].join('\n') : `${code}: ${message}`)
    Object.assign(this, { code, reason, violations, retryAfterMs })
  }
}

/** Reports that were not taken. */
export class ReportRefused extends Error {
  name = 'ReportRefused'

  constructor(results) {
    const refused = results.filter((result) => !isAcknowledged(result))
    super(refused.map(({ code, message }) => `${code}: ${message}`).join('; '))
    this.results = results
  }
}

/** Whether a report is stored for good: now, or by an earlier try of the same report. */
export const isAcknowledged = ({ code }) => ACKNOWLEDGED.has(code)

/** The error that a failed call means, with the details of its status. */
export function fromCall(error) {
  const code = grpc.status[error.code] ?? 'UNKNOWN'
  const [status] = error.metadata?.get('grpc-status-details-bin') ?? []
  return new OfferRankerError(code, error.details || 'the server said no more', status && details(status))
}

function details(status) {
  const found = {}
  for (const { typeUrl, value } of root.lookupType('Status').decode(status).details) {
    const read = (name) => typeUrl === PREFIX + name && root.lookupType(name).decode(value)
    const info = read('ErrorInfo')
    const request = read('BadRequest')
    const retry = read('RetryInfo')
    if (info) {
      found.reason = info.reason
    } else if (request) {
      found.violations = request.fieldViolations.map(({ field, description }) => ({ field, description }))
    } else if (retry?.retryDelay) {
      found.retryAfterMs = Number(retry.retryDelay.seconds) * 1000 + retry.retryDelay.nanos / 1e6
    }
  }
  return found
}
