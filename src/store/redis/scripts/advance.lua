#!lua
-- Changes a decision's ledger and appends the records of the change.
--
-- Closes the race of two reports on one decision: a change counts only on top of the sequence it was computed from.
-- Sent again after it was applied it is a conflict: the caller reads again and finds its own change.
--
-- KEYS: log, decision, open decisions
-- ARGV: id, sequence it was computed from, 1 if closed afterwards or else 0, ledger, records...
-- Answers 1, or 0 for a conflict.

local HEAD = '>BI8I4Bi8'
local log, decision, open = KEYS[1], KEYS[2], KEYS[3]
local id, from, closed, ledger = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

if #id ~= 20 or not from or (closed ~= 0 and closed ~= 1) or #ARGV < 5 then
  return redis.error_reply('ERR a change needs an id of 20 bytes, a sequence, 0 or 1, a ledger and records')
end
local head = redis.call('GETRANGE', decision, 0, 21)
redis.call('XLEN', log)
redis.call('ZSCORE', open, id)
if head == '' then
  return 0
end
if #head < 22 or string.byte(head) ~= 1 then
  return redis.error_reply('CORRUPT a decision that this release did not write')
end
local _, offset, sequence, was_closed, closes_at = struct.unpack(HEAD, head)
if sequence ~= from then
  return 0
end

for i = 5, #ARGV do
  redis.call('XADD', log, '0-*', 'r', ARGV[i])
end
redis.call('SET', decision, struct.pack(HEAD, 1, offset, from + #ARGV - 4, closed, closes_at) .. ledger)
if closed == 1 then
  redis.call('ZREM', open, id)
elseif was_closed == 1 then
  redis.call('ZADD', open, closes_at, id)
end
return 1
