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
-- Answers an offset for each of them, or why it is not stored: each is a step of its own.

local HEAD = '>BI8I4Bi8'
local log, open, forgotten, count = KEYS[1], KEYS[2], KEYS[3], (#KEYS - 3) / 3

-- What all decisions share can fail before the first write alone. Reading a key proves its type.
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

-- Keeps a salt, and that it is its owner's.
local lifetimes = {}
local function keep(id, salt, made_at, salted, kept, owned)
  local length = redis.call('RPUSH', owned, id)
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

-- Writes what belongs to a decision that is new, its record last: what may fail has not failed then.
local function write(i, offset)
  local key, argument = 3 * i + 1, 7 * i - 6
  local id, salt, made_at, salted = ARGV[argument], ARGV[argument + 4], tonumber(ARGV[argument + 5]), ARGV[argument + 6]
  local owned = KEYS[key + 2]
  -- The key of an owner's decisions ends with the owner.
  local forgotten_at = anybody_forgotten and redis.call('ZSCORE', forgotten, string.sub(owned, -16))
  if salt ~= '' and not (forgotten_at and tonumber(forgotten_at) >= made_at) then
    keep(id, salt, made_at, salted, KEYS[key + 1], owned)
  end
  redis.call('XADD', log, string.format('0-%.0f', offset + 1), 'r', ARGV[argument + 1])
end

-- Appends a decision; answers its offset and whether it is new. What is in a decision's own keys is seen as they are
-- written, which costs less than to read them first. Where that fails nothing of it stays, and an error is answered.
local function append(i, offset)
  local key, argument = 3 * i + 1, 7 * i - 6
  local id, head = ARGV[argument], struct.pack(HEAD, 1, offset, 0, 0, tonumber(ARGV[argument + 3]))
  local stored = redis.pcall('SET', KEYS[key], head .. ARGV[argument + 2], 'NX', 'GET')
  if type(stored) == 'string' then
    if #stored < 22 or string.byte(stored) ~= 1 then
      return redis.error_reply('CORRUPT a decision that this release did not write'), false
    end
    local _, stands = struct.unpack(HEAD, stored)
    return stands, false
  elseif stored then
    return stored, false
  end
  local done, failure = pcall(write, i, offset)
  if done then
    return offset, true
  end
  redis.pcall('DEL', KEYS[key])
  redis.pcall('HDEL', KEYS[key + 1], id)
  redis.pcall('LREM', KEYS[key + 2], -1, id)
  -- Versions raise a command's error as a table or as its text, which begins with a code; what Lua says of a value has none.
  local message = type(failure) == 'table' and failure.err or tostring(failure)
  return redis.error_reply(string.find(message, '^%u+ ') and message or 'CORRUPT ' .. message), false
end

local answers, closing = {}, {}
for i = 1, count do
  local answer, is_new = append(i, log_end)
  if is_new then
    log_end = log_end + 1
    closing[#closing + 1] = ARGV[7 * i - 3]
    closing[#closing + 1] = ARGV[7 * i - 6]
  end
  answers[i] = answer
end
if #closing > 0 then
  redis.call('ZADD', open, unpack(closing))
end
return answers
