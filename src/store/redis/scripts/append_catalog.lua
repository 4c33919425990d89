#!lua
-- Appends a catalog revision.
--
-- Closes the race of two instances for one revision number: the first of them has it.
-- Safe to send again: what is exactly stored already is appended.
--
-- KEYS: newest revision, this revision
-- ARGV: revision, applied at, reason, catalog, placement numbers
-- Answers 1, or 0 where the revision is not the next one.

local revision = tonumber(ARGV[1])
if #ARGV ~= 5 or not revision then
  return redis.error_reply('ERR a catalog needs a revision and four fields')
end
local newest = tonumber(redis.call('GET', KEYS[1]) or '0')
local stored = redis.call('HMGET', KEYS[2], 'applied_at', 'reason', 'catalog', 'placements')
if not newest then
  return redis.error_reply('CORRUPT a newest revision that is no number')
end
if stored[1] then
  for i = 1, 4 do
    if stored[i] ~= ARGV[i + 1] then
      return 0
    end
  end
  return 1
end
if revision ~= newest + 1 then
  return 0
end
redis.call('HSET', KEYS[2], 'applied_at', ARGV[2], 'reason', ARGV[3], 'catalog', ARGV[4], 'placements', ARGV[5])
-- Last: readers go from here to the revision.
redis.call('SET', KEYS[1], ARGV[1])
return 1
