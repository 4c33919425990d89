#!lua
-- Remembers that an owner was forgotten, and tells of the owner's decisions.
--
-- Closes the race with appends: from here on none keeps a salt of a decision that was made until then.
-- Safe to send again: the later time stands.
--
-- KEYS: decisions of the owner, when the owner was forgotten
-- ARGV: now in ms, for how long that is remembered in ms, how many decisions at most
-- Answers their ids.

local now, remembered, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not (now and remembered and remembered > 0 and most) then
  return redis.error_reply('ERR forgetting needs a time, a lifetime and a count')
end
local ids = redis.call('LRANGE', KEYS[1], 0, most - 1)
local before = tonumber(redis.call('GET', KEYS[2]) or '-inf')
if not before then
  return redis.error_reply('CORRUPT an owner who was forgotten at no time')
end
redis.call('SET', KEYS[2], before > now and string.format('%.0f', before) or ARGV[1], 'PX', ARGV[2])
return ids
