#!lua
-- Remembers that an owner was forgotten, and tells of the owner's decisions.
--
-- Closes the race with appends: from here on none keeps a salt of a decision that was made until then.
-- Safe to send again: the later time stands.
--
-- KEYS: decisions of the owner, when owners were forgotten
-- ARGV: owner, now in ms, for how long that is remembered in ms, how many decisions at most
-- Answers their ids.

local owner, now, remembered, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not (#ARGV == 4 and #owner == 16 and now and remembered and remembered > 0 and most) then
  return redis.error_reply('ERR forgetting needs an owner of 16 bytes, a time, a lifetime and a count')
end
local ids = redis.call('LRANGE', KEYS[1], 0, most - 1)
redis.call('ZADD', KEYS[2], 'GT', ARGV[2], owner)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', now - remembered))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return ids
