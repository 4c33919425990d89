#!lua
-- Appends decisions without request marks and documents to their log, each with its ledger and its closing time.
--
-- Closes the race of two senders of one decision: it is written once.
-- Safe to send again: an id that is stored is answered with its offset, and nothing is written.
--
-- KEYS: log, open decisions, decisions...
-- ARGV: of each decision its id, record, ledger, closing time in ms
-- Answers the offsets.

local HEAD = '>BI8I4Bi8'
local log, open, count = KEYS[1], KEYS[2], #KEYS - 2

-- Everything that can fail comes before the first write, since nothing is rolled back. Reading a key proves its type.
if count < 1 or #ARGV ~= 4 * count then
  return redis.error_reply('ERR an append needs decisions, and four arguments for each of them')
end
redis.call('XLEN', log)
redis.call('ZSCORE', open, ARGV[1])
local offsets = {}
for i = 1, count do
  if #ARGV[4 * i - 3] ~= 20 or not tonumber(ARGV[4 * i]) then
    return redis.error_reply('ERR an append needs an id of 20 bytes and a closing time')
  end
  local head = redis.call('GETRANGE', KEYS[i + 2], 0, 21)
  if head ~= '' then
    if #head < 22 or string.byte(head) ~= 1 then
      return redis.error_reply('CORRUPT a decision that this release did not write')
    end
    local _, offset = struct.unpack(HEAD, head)
    offsets[i] = offset
  end
end

-- By id: the same decision may be given twice.
local written = {}
for i = 1, count do
  local id, closes_at = ARGV[4 * i - 3], ARGV[4 * i]
  offsets[i] = offsets[i] or written[id]
  if not offsets[i] then
    local entry = redis.call('XADD', log, '0-*', 'r', ARGV[4 * i - 2])
    local offset = tonumber(string.sub(entry, 3)) - 1
    redis.call('SET', KEYS[i + 2], struct.pack(HEAD, 1, offset, 0, 0, tonumber(closes_at)) .. ARGV[4 * i - 1])
    redis.call('ZADD', open, closes_at, id)
    offsets[i], written[id] = offset, offset
  end
end
return offsets
