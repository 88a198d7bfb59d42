-- Delete a session, or only its messages, and leave a mark that a late turn or a replay is measured against.
--
-- KEYS[1] list of messages   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] when it was asked for (ms), if that was earlier, else ''
-- ARGV[2] how long the mark must stay (ms)
-- ARGV[3] 1: the session stays, only its messages go   ARGV[4] member
--
-- Reply: 1 if there was a session or a message, else 0.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local meta = redis.call('HMGET', KEYS[2], 'created', 'deleted', 'data')
local at = ARGV[1] == '' and now or tonumber(ARGV[1])
if ARGV[1] ~= '' and meta[2] and tonumber(meta[2]) >= at then
  return 0
end
local left = redis.call('PTTL', KEYS[2])
local gone = redis.call('DEL', KEYS[1])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'deleted', at)
if ARGV[3] == '1' and meta[1] then
  redis.call('HSET', KEYS[2], 'created', meta[1], 'active', now, 'data', meta[3] or '')
elseif KEYS[3] then
  redis.call('ZREM', KEYS[3], ARGV[4])
end
redis.call('PEXPIRE', KEYS[2], math.max(left, tonumber(ARGV[2])))
return (meta[1] or gone > 0) and 1 or 0
