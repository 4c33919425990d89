#!lua
-- Claims a request for a body, where its decision will stand in another log.
--
-- Closes the race of two bodies under one request id whose logs are different ones: they meet here.
-- Safe to send again: the same body finds its own claim.
--
-- KEYS: request
-- ARGV: fingerprint, marked at, expires at, lifetime in ms
-- Answers the fingerprint that stands.

local fingerprint, marked_at, expires_at, lifetime = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not (#fingerprint == 32 and marked_at and expires_at and lifetime and lifetime > 0) then
  return redis.error_reply('ERR a claim needs a fingerprint of 32 bytes, its times and its lifetime')
end
local mark = redis.call('GET', KEYS[1])
if mark then
  if (#mark ~= 41 and #mark ~= 61) or string.byte(mark) ~= 1 then
    return redis.error_reply('CORRUPT a mark that this release did not write')
  end
  local _, expires = struct.unpack('>Bi8', mark)
  if expires > marked_at then
    return string.sub(mark, 10, 41)
  end
end
redis.call('SET', KEYS[1], struct.pack('>Bi8', 1, expires_at) .. fingerprint, 'PX', ARGV[4])
return fingerprint
