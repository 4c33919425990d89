#!lua flags=no-writes
-- Reads records of a log, as many as fit into an answer. Asks the stream for few at first and for more while they
-- are small, so that large records do not pile up here either.
--
-- KEYS: log
-- ARGV: number of the first record from 1, how many at most, bytes from which the answer is full
-- Answers ids and records, one after the other.

local first, left, bytes_max = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if not (first and left and bytes_max) then
  return redis.error_reply('ERR reading a log needs a first record, a count and a number of bytes')
end
local found, bytes, largest, count = {}, 0, 1, 1
while left > 0 and bytes < bytes_max do
  local entries = redis.call('XRANGE', KEYS[1], string.format('0-%.0f', first), '+', 'COUNT', math.min(left, count))
  if #entries == 0 then
    break
  end
  for _, entry in ipairs(entries) do
    local record = entry[2][2]
    found[#found + 1] = entry[1]
    found[#found + 1] = record
    bytes = bytes + #record
    largest = math.max(largest, #record)
  end
  left = left - #entries
  first = tonumber(string.sub(entries[#entries][1], 3)) + 1
  count = math.max(1, math.min(count * 4, math.floor((bytes_max - bytes) / largest)))
end
return found
