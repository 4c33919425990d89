#!lua
-- Destroys the salts of decisions.
--
-- Safe to send again: what is destroyed already is destroyed.
--
-- KEYS: decisions of their owner; for each decision the salts among which its own is
-- ARGV: the ids of the decisions
-- Answers how many were destroyed.

local owned, destroyed = KEYS[1], 0
if #KEYS ~= #ARGV + 1 then
  return redis.error_reply('ERR destroying salts needs as many keys as ids')
end
redis.call('LLEN', owned)
for i = 1, #ARGV do
  redis.call('HLEN', KEYS[i + 1])
end
for i = 1, #ARGV do
  destroyed = destroyed + redis.call('HDEL', KEYS[i + 1], ARGV[i])
  redis.call('LREM', owned, 1, ARGV[i])
end
return destroyed
