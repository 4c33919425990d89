#!lua
-- Ends a holder's lease of learning from a log; its token stays given out.
--
-- Closes the race with another who has taken the lease: only the holder's own is ended.
-- Safe to send again: it is ended already.
--
-- KEYS: learner
-- ARGV: holder

if redis.call('HGET', KEYS[1], 'holder') == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'holder', 'until')
end
return 1
