#!lua
-- Replaces or removes a document.
--
-- Closes the race of two changes of one document: a change counts only in place of the version it was computed from.
-- Safe to send again: what stands already is written again.
--
-- KEYS: document
-- ARGV: version before ('' of none), version after ('' of removal), content, lifetime in ms
-- Answers 1, or 0 where the document has moved.

local document = KEYS[1]
local from_version, version, content, kept = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if not ((#from_version == 0 or #from_version == 8) and (#version == 0 or #version == 8) and kept and kept > 0) then
  return redis.error_reply('ERR a document needs versions of 8 bytes and its lifetime')
end
local stored = redis.call('GETRANGE', document, 0, 8)
if stored ~= '' and (#stored ~= 9 or string.byte(stored) ~= 1) then
  return redis.error_reply('CORRUPT a document that this release did not write')
end
local stands = string.sub(stored, 2)
if stands ~= from_version and stands ~= version then
  return 0
end
if version == '' then
  redis.call('DEL', document)
else
  redis.call('SET', document, '\1' .. version .. content, 'PX', ARGV[4])
end
return 1
