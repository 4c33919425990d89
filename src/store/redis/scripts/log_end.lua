#!lua flags=no-writes
-- Tells how many records were ever appended to a log, those included that have been trimmed away since.
--
-- KEYS: log
-- Answers the number, or nil where there is no such log.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return false
end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then
    return tonumber(string.sub(info[i + 1], 3))
  end
end
return redis.error_reply('CORRUPT a stream that does not tell its last id')
