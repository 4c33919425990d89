#!lua flags=no-writes
-- Reads decisions of one log with their records and salts, all of one moment: no change comes between a ledger and its
-- record.
--
-- KEYS: log; of each decision itself, the salts among which its own is
-- ARGV: the ids of the decisions
-- Answers, for each decision, nil or its value, its record and its salt (nil where those are missing).

local found = {}
for i = 1, #ARGV do
  local value = redis.call('GET', KEYS[2 * i])
  if value then
    local record
    if #value >= 22 then
      local _, offset = struct.unpack('>BI8', value)
      local id = string.format('0-%.0f', offset + 1)
      local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
      record = entry and entry[2][2]
    end
    found[i] = { value, record or false, redis.call('HGET', KEYS[2 * i + 1], ARGV[i]) }
  else
    found[i] = false
  end
end
return found
