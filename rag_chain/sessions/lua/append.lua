-- Append messages that are no turn, whole and once: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] id of this append   ARGV[2] when it was asked for (ms), if that was earlier, else ''
-- ARGV[3] time to live in ms, -1: for ever   ARGV[4] messages kept at most, 0: all   ARGV[5] member
-- ARGV[6] messages that the session is known to have had, so that their loss is noticed; 0: none
-- ARGV[7...] messages as JSON, oldest first
--
-- Reply: {outcome, total, now}, as commit.lua. The newest 32 ids are kept, so that a repeat changes nothing.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local length = redis.call('LLEN', KEYS[1])
local meta = redis.call('HMGET', KEYS[2], 'appends', 'deleted', 'dropped', 'created')
local appends, dropped = meta[1] or '', tonumber(meta[3] or 0)

if ARGV[2] ~= '' and meta[2] and tonumber(meta[2]) >= tonumber(ARGV[2]) then
  return {-1, length + dropped, now}
end
if string.find(appends, ARGV[1], 1, true) then
  return {0, length + dropped, now}
end

for i = 7, #ARGV do
  length = redis.call('LPUSH', KEYS[1], ARGV[i])
end
local max = tonumber(ARGV[4])
if max > 0 and length > max then
  redis.call('LTRIM', KEYS[1], 0, max - 1)
  dropped = redis.call('HINCRBY', KEYS[2], 'dropped', length - max)
  length = max
end
redis.call('HSET', KEYS[2], 'active', now, 'appends', string.sub(ARGV[1] .. ' ' .. appends, 1, 32 * 33))
if not meta[4] then
  redis.call('HSET', KEYS[2], 'created', now)
  if ARGV[6] ~= '0' then
    redis.call('HSET', KEYS[2], 'lost', ARGV[6])
  end
end
if KEYS[3] then
  redis.call('ZADD', KEYS[3], now, ARGV[5])
end
local ttl = tonumber(ARGV[3])
for i = 1, 2 do
  if redis.call('PTTL', KEYS[i]) < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
  end
end
return {1, length + dropped, now}
