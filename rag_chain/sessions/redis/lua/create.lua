-- Make an empty session, or renew one that exists.
--
-- KEYS[1] list of messages   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] metadata as JSON   ARGV[2] time to live in ms, -1: for ever   ARGV[3] member
--
-- Reply: 1 if it is new, 0 if it was there; then nothing but the time to live changes.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local new = redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HEXISTS', KEYS[2], 'created') == 0
if new then
  redis.call('HSET', KEYS[2], 'created', now, 'life', now, 'active', now, 'data', ARGV[1])
  if KEYS[3] then
    redis.call('ZADD', KEYS[3], now, ARGV[3])
  end
end
local ttl = tonumber(ARGV[2])
for i = 1, 2 do
  local left = redis.call('PTTL', KEYS[i])
  if left ~= -2 and left < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
  end
end
return new and 1 or 0
