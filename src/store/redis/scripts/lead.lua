#!lua
-- Takes or extends the lease of learning from a log.
--
-- Closes the race of two instances for one lease: a token is given out once.
-- Safe to send again: who holds the lease keeps its token.
--
-- KEYS: learner
-- ARGV: holder, now in ms, end of the lease in ms
-- Answers 1 and the token, or 0 and when the other's lease ends.

local holder, now, ends = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if not (holder and now and ends) then
  return redis.error_reply('ERR leading needs a holder, a time and an end')
end
local stored = redis.call('HMGET', KEYS[1], 'token', 'holder', 'until')
local token, other, held_until = tonumber(stored[1] or '0'), stored[2], tonumber(stored[3] or '0')
if not (token and held_until) then
  return redis.error_reply('CORRUPT a learner whose token or time is no number')
end
if other and other ~= holder and held_until > now then
  return { 0, held_until }
end
if other ~= holder then
  token = token + 1
end
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', token), 'holder', holder, 'until', ARGV[3])
return { 1, token }
