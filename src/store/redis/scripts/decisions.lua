#!lua flags=no-writes
-- Reads decisions of one log with their records, all of one moment: no change comes between a ledger and its record.
--
-- KEYS: log, decisions...
-- Answers, for each decision, nil or its value and its record (nil where that is missing).

local found = {}
for i = 2, #KEYS do
  local value = redis.call('GET', KEYS[i])
  if value and #value >= 22 then
    local _, offset = struct.unpack('>BI8', value)
    local id = string.format('0-%.0f', offset + 1)
    local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
    found[i - 1] = { value, entry and entry[2][2] or false }
  elseif value then
    found[i - 1] = { value, false }
  else
    found[i - 1] = false
  end
end
return found
