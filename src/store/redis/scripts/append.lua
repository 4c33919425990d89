#!lua
-- Appends a decision to its log, with its ledger, its closing time, its salt, its request mark and its unit's document.
--
-- Closes the race of two calls with one request: whoever comes second finds the mark of the first. And that of two
-- calls for one unit: a decision that was made from an older document is not appended.
-- And that with forgetting: the salt of an owner who was forgotten after the decision had been made is not kept.
-- Safe to send again: an id that is stored is answered with its offset, and nothing is written.
--
-- KEYS: log, decision, open decisions, when owners were forgotten, salts, decisions of the salt's owner[, request]
--       [, document]
-- ARGV: id, record, ledger, closing time in ms, fingerprint ('' of no mark), marked at, expires at, lifetime in ms,
--       document's version before ('' of none), version after ('' of no change), content, lifetime in ms,
--       salt ('' of none), when the decision was made, salt's lifetime in ms
-- Without a mark there is no request key, without a change no document: KEYS[7] is the document where there is no mark.
-- Answers the offset; or 52 bytes, decision and fingerprint of an earlier answer; or the 32 bytes of another's claim; or
-- -1 where the document has moved.

local HEAD = '>BI8I4Bi8'
local log, decision, open, forgotten, salts, owned = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local id, record, ledger, closes_at = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local fingerprint, marked_at, expires_at, lifetime = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local from_version, version, content, kept = ARGV[9], ARGV[10], ARGV[11], tonumber(ARGV[12])
local salt, made_at, salted = ARGV[13], tonumber(ARGV[14]), tonumber(ARGV[15])
local request, document
if fingerprint ~= '' then
  request, document = KEYS[7], KEYS[8]
else
  document = KEYS[7]
end

-- Everything that can fail comes before the first write, since nothing is rolled back. Reading a key proves its type.
if #ARGV ~= 15 or #id ~= 20 or not closes_at then
  return redis.error_reply('ERR an append needs 15 arguments, an id of 20 bytes and a closing time')
end
if (#salt ~= 0 and #salt ~= 16) or not (made_at and salted and salted > 0) then
  return redis.error_reply('ERR a salt needs 16 bytes, its time and its lifetime')
end
if request and not (#fingerprint == 32 and marked_at and expires_at and lifetime and lifetime > 0) then
  return redis.error_reply('ERR a mark needs a fingerprint of 32 bytes, its times and its lifetime')
end
if document and not ((#from_version == 0 or #from_version == 8) and #version == 8 and kept and kept > 0) then
  return redis.error_reply('ERR a document needs versions of 8 bytes and its lifetime')
end
local head = redis.call('GETRANGE', decision, 0, 21)
redis.call('XLEN', log)
redis.call('ZSCORE', open, id)
redis.call('HLEN', salts)
local oldest = redis.call('LINDEX', owned, 0)
-- The key of an owner's decisions ends with the owner.
local forgotten_at = redis.call('ZSCORE', forgotten, string.sub(owned, -16))
if forgotten_at and tonumber(forgotten_at) >= made_at then
  salt = ''
end
if head ~= '' then
  if #head < 22 or string.byte(head) ~= 1 then
    return redis.error_reply('CORRUPT a decision that this release did not write')
  end
  local _, offset = struct.unpack(HEAD, head)
  return offset
end
if request then
  local mark = redis.call('GET', request)
  if mark then
    if (#mark ~= 41 and #mark ~= 61) or string.byte(mark) ~= 1 then
      return redis.error_reply('CORRUPT a mark that this release did not write')
    end
    local _, expires = struct.unpack('>Bi8', mark)
    local claimed = string.sub(mark, 10, 41)
    if expires > marked_at then
      if #mark == 61 then
        return string.sub(mark, 42) .. claimed
      elseif claimed ~= fingerprint then
        return claimed
      end
    end
  end
end
if document then
  local stored = redis.call('GETRANGE', document, 0, 8)
  if stored ~= '' and (#stored ~= 9 or string.byte(stored) ~= 1) then
    return redis.error_reply('CORRUPT a document that this release did not write')
  end
  local stands = string.sub(stored, 2)
  if stands ~= from_version and stands ~= version then
    return -1
  end
end

local entry = redis.call('XADD', log, '0-*', 'r', record)
local offset = tonumber(string.sub(entry, 3)) - 1
redis.call('SET', decision, struct.pack(HEAD, 1, offset, 0, 0, closes_at) .. ledger)
if salt ~= '' then
  -- The list of an owner who comes back again and again would grow for ever.
  if oldest and struct.unpack('>I6', oldest, 6) + salted < made_at then
    redis.call('LPOP', owned)
  end
  redis.call('HSET', salts, id, salt)
  redis.call('PEXPIRE', salts, ARGV[15])
  redis.call('RPUSH', owned, id)
  redis.call('PEXPIRE', owned, ARGV[15])
end
redis.call('ZADD', open, ARGV[4], id)
if document then
  redis.call('SET', document, '\1' .. version .. content, 'PX', ARGV[12])
end
-- Last: a mark without its decision would answer every retry with nothing.
if request then
  redis.call('SET', request, struct.pack('>Bi8', 1, expires_at) .. fingerprint .. id, 'PX', ARGV[8])
end
return offset
