#!lua
-- Appends decisions without request marks and documents to their log, each with its ledger, its closing time and its salt.
--
-- Closes the race of two senders of one decision: it is written once. And that with forgetting: the salt of an owner who
-- was forgotten after the decision had been made is not kept.
-- Safe to send again: an id that is stored is answered with its offset, and nothing is written.
--
-- KEYS: log, open decisions, when owners were forgotten; of each decision itself, salts, the decisions of its salt's owner
-- ARGV: of each decision its id, record, ledger, closing time in ms, salt ('' of none), when it was made, salt's lifetime in
--       ms
-- Answers the offsets.

local HEAD = '>BI8I4Bi8'
local log, open, forgotten, count = KEYS[1], KEYS[2], KEYS[3], (#KEYS - 3) / 3

-- What all decisions share can fail before the first write only. Reading a key proves its type.
if count < 1 or #ARGV ~= 7 * count then
  return redis.error_reply('ERR an append needs decisions, and three keys and seven arguments for each of them')
end
for i = 1, count do
  local argument = 7 * i - 6
  if #ARGV[argument] ~= 20 or not tonumber(ARGV[argument + 3]) then
    return redis.error_reply('ERR an append needs an id of 20 bytes and a closing time')
  end
  local salt, made_at, salted = ARGV[argument + 4], tonumber(ARGV[argument + 5]), tonumber(ARGV[argument + 6])
  if (#salt ~= 0 and #salt ~= 16) or not (made_at and salted and salted > 0) then
    return redis.error_reply('ERR a salt needs 16 bytes, its time and its lifetime')
  end
  -- Most have the salts of one before them.
  if i == 1 or KEYS[3 * i + 2] ~= KEYS[3 * i - 1] then
    redis.call('HLEN', KEYS[3 * i + 2])
  end
end
redis.call('ZSCORE', open, ARGV[1])
local anybody_forgotten = redis.call('ZCARD', forgotten) > 0

local log_end = 0
if redis.call('EXISTS', log) == 1 then
  local info = redis.call('XINFO', 'STREAM', log)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      log_end = tonumber(string.sub(info[i + 1], 3))
    end
  end
end

-- Puts a decision down with its salt, but not into the log yet; answers the offset of one that is stored, or nothing. What
-- is in a decision's own keys is seen as they are written, which costs less than reading them first: where it is not what
-- this release writes, the decision stays away, and those before it stand.
local lifetimes = {}
local function put(i, offset)
  local key, argument = 3 * i + 1, 7 * i - 6
  local id, head = ARGV[argument], struct.pack(HEAD, 1, offset, 0, 0, tonumber(ARGV[argument + 3]))
  local stored = redis.pcall('SET', KEYS[key], head .. ARGV[argument + 2], 'NX', 'GET')
  if type(stored) == 'string' then
    if #stored < 22 or string.byte(stored) ~= 1 then
      return redis.error_reply('CORRUPT a decision that this release did not write')
    end
    local _, stands = struct.unpack(HEAD, stored)
    return stands
  elseif stored then
    return stored
  end
  local salt, made_at, salted = ARGV[argument + 4], tonumber(ARGV[argument + 5]), tonumber(ARGV[argument + 6])
  local kept, owned = KEYS[key + 1], KEYS[key + 2]
  -- The key of an owner's decisions ends with the owner.
  local forgotten_at = anybody_forgotten and redis.call('ZSCORE', forgotten, string.sub(owned, -16))
  if salt == '' or forgotten_at and tonumber(forgotten_at) >= made_at then
    return
  end
  local length = redis.pcall('RPUSH', owned, id)
  if type(length) == 'table' then
    redis.call('DEL', KEYS[key])
    return length
  end
  redis.call('PEXPIRE', owned, salted)
  -- The list of an owner who comes back again and again would grow for ever.
  if length > 1 and struct.unpack('>I6', redis.call('LINDEX', owned, 0), 6) + salted < made_at then
    redis.call('LPOP', owned)
  end
  redis.call('HSET', kept, id, salt)
  -- Time stands still in a script.
  if lifetimes[kept] ~= salted then
    redis.call('PEXPIRE', kept, salted)
    lifetimes[kept] = salted
  end
end

local offsets, closing, failure = {}, {}, nil
for i = 1, count do
  local argument = 7 * i - 6
  local stored = put(i, log_end)
  if type(stored) == 'table' then
    failure = stored
    break
  elseif not stored then
    stored, log_end = log_end, log_end + 1
    redis.call('XADD', log, string.format('0-%.0f', log_end), 'r', ARGV[argument + 1])
    closing[#closing + 1] = ARGV[argument + 3]
    closing[#closing + 1] = ARGV[argument]
  end
  offsets[i] = stored
end
if #closing > 0 then
  redis.call('ZADD', open, unpack(closing))
end
return failure or offsets
