#!lua
-- Appends decisions without request marks and documents to their log, each with its ledger, its closing time and its salt.
--
-- Closes the race of two senders of one decision: it is written once. And that with forgetting: the salt of an owner who
-- was forgotten after the decision had been made is not kept.
-- Safe to send again: an id that is stored is answered with its offset, and nothing is written.
--
-- KEYS: log, open decisions; of each decision itself, salts, the decisions of its salt's owner, when the owner was forgotten
-- ARGV: of each decision its id, record, ledger, closing time in ms, salt ('' of none), when it was made, salt's lifetime in
--       ms
-- Answers the offsets.

local HEAD = '>BI8I4Bi8'
local log, open, count = KEYS[1], KEYS[2], (#KEYS - 2) / 4

-- Everything that can fail comes before the first write, since nothing is rolled back. Reading a key proves its type.
if count < 1 or #ARGV ~= 7 * count then
  return redis.error_reply('ERR an append needs decisions, and four keys and seven arguments for each of them')
end
redis.call('XLEN', log)
redis.call('ZSCORE', open, ARGV[1])
-- What an owner's list begins with, `false` where there is none.
local offsets, salts, oldest = {}, {}, {}
for i = 1, count do
  local key, argument = 4 * i - 1, 7 * i - 6
  if #ARGV[argument] ~= 20 or not tonumber(ARGV[argument + 3]) then
    return redis.error_reply('ERR an append needs an id of 20 bytes and a closing time')
  end
  local salt, made_at, salted = ARGV[argument + 4], tonumber(ARGV[argument + 5]), tonumber(ARGV[argument + 6])
  if (#salt ~= 0 and #salt ~= 16) or not (made_at and salted and salted > 0) then
    return redis.error_reply('ERR a salt needs 16 bytes, its time and its lifetime')
  end
  -- Most have the salts of one before them.
  if KEYS[key + 1] ~= KEYS[key - 3] then
    redis.call('HLEN', KEYS[key + 1])
  end
  local owned = KEYS[key + 2]
  if oldest[owned] == nil then
    oldest[owned] = redis.call('LINDEX', owned, 0)
  end
  if salt ~= '' and (tonumber(redis.call('GET', KEYS[key + 3]) or '-inf') or made_at) >= made_at then
    salt = ''
  end
  salts[i] = salt
  local head = redis.call('GETRANGE', KEYS[key], 0, 21)
  if head ~= '' then
    if #head < 22 or string.byte(head) ~= 1 then
      return redis.error_reply('CORRUPT a decision that this release did not write')
    end
    local _, offset = struct.unpack(HEAD, head)
    offsets[i] = offset
  end
end

-- By id: the same decision may be given twice.
local written, closing, lifetimes = {}, {}, {}
for i = 1, count do
  local key, argument, salt = 4 * i - 1, 7 * i - 6, salts[i]
  local id, closes_at = ARGV[argument], ARGV[argument + 3]
  offsets[i] = offsets[i] or written[id]
  if not offsets[i] then
    local entry = redis.call('XADD', log, '0-*', 'r', ARGV[argument + 1])
    local offset = tonumber(string.sub(entry, 3)) - 1
    redis.call('SET', KEYS[key], struct.pack(HEAD, 1, offset, 0, 0, tonumber(closes_at)) .. ARGV[argument + 2])
    closing[#closing + 1] = closes_at
    closing[#closing + 1] = id
    if salt ~= '' then
      local owned, made_at, salted = KEYS[key + 2], tonumber(ARGV[argument + 5]), tonumber(ARGV[argument + 6])
      local kept = KEYS[key + 1]
      -- The list of an owner who comes back again and again would grow for ever.
      if oldest[owned] and struct.unpack('>I6', oldest[owned], 6) + salted < made_at then
        redis.call('LPOP', owned)
        oldest[owned] = redis.call('LINDEX', owned, 0)
      end
      redis.call('HSET', kept, id, salt)
      -- Time stands still in a script.
      if lifetimes[kept] ~= salted then
        redis.call('PEXPIRE', kept, salted)
        lifetimes[kept] = salted
      end
      redis.call('RPUSH', owned, id)
      redis.call('PEXPIRE', owned, salted)
      oldest[owned] = oldest[owned] or id
    end
    offsets[i], written[id] = offset, offset
  end
end
if #closing > 0 then
  redis.call('ZADD', open, unpack(closing))
end
return offsets
