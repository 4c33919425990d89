#!lua
-- Replaces statistics of a model in a log.
--
-- Closes the race of two learners: a commit counts only with a token that is not older than the newest of this log,
-- and only on top of the offset it was folded from.
-- Safe to send again: what is exactly stored already is committed.
--
-- KEYS: statistics, learner
-- ARGV: offset it was folded from, offset reached, token, shared state[, arm, statistics]...
-- Answers 1, or 0 for a commit that is fenced.

local statistics, learner = KEYS[1], KEYS[2]
local from, offset, token, shared = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if #ARGV < 4 or #ARGV % 2 == 1 or not tonumber(token) then
  return redis.error_reply('ERR a commit needs two offsets, a token, a shared state and pairs of arms')
end
local newest = tonumber(redis.call('HGET', learner, 'token') or '0')
local stored = redis.call('HMGET', statistics, 'offset', 'token', 'shared')
if not newest then
  return redis.error_reply('CORRUPT a learner whose token is no number')
end
if tonumber(token) < newest then
  return 0
end
-- Offsets are compared as they are written: without the limits of a double.
if (stored[1] or '0') ~= from then
  if (stored[1] or '0') ~= offset or (stored[2] or '0') ~= token or (stored[3] or '') ~= shared then
    return 0
  end
  for i = 5, #ARGV, 2 do
    if redis.call('HGET', statistics, 'arm:' .. ARGV[i]) ~= ARGV[i + 1] then
      return 0
    end
  end
  return 1
end

for i = 5, #ARGV, 2 do
  redis.call('HSET', statistics, 'arm:' .. ARGV[i], ARGV[i + 1])
end
redis.call('HSET', statistics, 'offset', offset, 'token', token, 'shared', shared)
-- Whoever led with an older token does so no longer.
if tonumber(token) > newest then
  redis.call('HSET', learner, 'token', token)
  redis.call('HDEL', learner, 'holder', 'until')
end
return 1
