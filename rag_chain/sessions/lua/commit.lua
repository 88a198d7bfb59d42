-- Append the messages of one turn, whole and once, and end its pending question: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] turn id   ARGV[2] when the turn began (ms)   ARGV[3] time to live in ms, -1: for ever
-- ARGV[4] messages kept at most, 0: all   ARGV[5] member
-- ARGV[6] messages that the session is known to have had, so that their loss is noticed; 0: none
-- ARGV[7...] messages as JSON, oldest first
--
-- Reply: {outcome, total, now}
--   outcome 1: appended, 0: the turn was there already, -1: the session was deleted after the turn began.
--
-- A turn whose pending question is gone is looked for in the list: it was committed before and the reply got
-- lost, or it was given up as interrupted by another process, and then the answer takes that question's place.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local length = redis.call('LLEN', KEYS[1])
local field = 'p:' .. ARGV[1]
local meta = redis.call('HMGET', KEYS[2], field, 'deleted', 'dropped', 'created')
local dropped = tonumber(meta[3] or 0)

if meta[2] and tonumber(meta[2]) >= tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[2], field)
  return {-1, length + dropped, now}
end

if not meta[1] and length > 0 then
  local mark = '"turn_id": "' .. ARGV[1] .. '"'
  local given_up
  for _, item in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if string.find(item, mark, 1, true) then
      if not string.find(item, '"given_up": true', 1, true) then
        return {0, length + dropped, now}
      end
      given_up = item
    end
  end
  if given_up then
    redis.call('LREM', KEYS[1], 1, given_up)
    dropped = redis.call('HINCRBY', KEYS[2], 'dropped', 1)
  end
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
redis.call('HDEL', KEYS[2], field)
redis.call('HSET', KEYS[2], 'active', now)
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
