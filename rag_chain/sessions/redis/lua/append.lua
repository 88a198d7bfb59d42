-- Append messages that are no turn, whole and once: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] 'asked ttl maximum base', numbers: when it was asked for (ms) if that was earlier, else 0; the others as for
--   commit.lua
-- ARGV[2] id of this append   ARGV[3] member   ARGV[4...] messages as JSON, oldest first
--
-- Reply: 'outcome total', as commit.lua. The newest 32 ids are kept, so that a repeat changes nothing.

local asked, ttl, max, base = string.match(ARGV[1], '(%d+) (-?%d+) (%d+) (%d+)')
ttl, max = tonumber(ttl), tonumber(max)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local length = redis.call('LLEN', KEYS[1])
local meta = redis.call('HMGET', KEYS[2], 'appends', 'deleted', 'dropped', 'created')
local appends, dropped = meta[1] or '', tonumber(meta[3] or 0)

if asked ~= '0' and meta[2] and tonumber(meta[2]) >= tonumber(asked) then
  return redis.status_reply('-1 ' .. length + dropped)
end
if string.find(appends, ARGV[2], 1, true) then
  return redis.status_reply('0 ' .. length + dropped)
end

for i = 4, #ARGV do
  length = redis.call('LPUSH', KEYS[1], ARGV[i])
end
if max > 0 and length > max then
  redis.call('LTRIM', KEYS[1], 0, max - 1)
  dropped = redis.call('HINCRBY', KEYS[2], 'dropped', length - max)
  length = max
end
redis.call('HSET', KEYS[2], 'active', now, 'appends', string.sub(ARGV[2] .. ' ' .. appends, 1, 32 * 33))
if not meta[4] then
  redis.call('HSET', KEYS[2], 'created', now)
  if base ~= '0' then
    redis.call('HSET', KEYS[2], 'lost', base)
  end
end
if KEYS[3] then
  redis.call('ZADD', KEYS[3], now, ARGV[3])
end
for i = 1, 2 do
  if redis.call('PTTL', KEYS[i]) < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
  end
end
return redis.status_reply('1 ' .. length + dropped)
