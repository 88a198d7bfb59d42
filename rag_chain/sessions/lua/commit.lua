-- Append the messages of one turn, whole and once, and end its pending question: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] 'begun ttl maximum base again', numbers: when the turn began (ms); time to live in ms, -1: for ever; messages
--   kept at most, 0: all; messages that the session is known to have had, so that their loss is noticed, 0: none; again 1:
--   the turn may have been committed before, though its question is pending (the caller chose its id)
-- ARGV[2] turn id   ARGV[3] member   ARGV[4...] messages as JSON, oldest first
--
-- Reply: 'outcome total', a status line
--   outcome 1: appended, 0: the turn was there already, -1: the session was deleted after the turn began.
--
-- A turn whose pending question is gone is looked for in the list: it was committed before and the reply got
-- lost, or it was given up as interrupted by another process, and then the answer takes that question's place.

local begun, ttl, max, base, again = string.match(ARGV[1], '(%d+) (-?%d+) (%d+) (%d+) (%d)')
ttl, max = tonumber(ttl), tonumber(max)
local field = 'p:' .. ARGV[2]
local meta = redis.call('HMGET', KEYS[2], field, 'deleted', 'dropped', 'created')
local dropped = tonumber(meta[3] or 0)

if meta[2] and tonumber(meta[2]) >= tonumber(begun) then
  redis.call('HDEL', KEYS[2], field)
  return redis.status_reply('-1 ' .. redis.call('LLEN', KEYS[1]) + dropped)
end

if not meta[1] or again == '1' then
  local mark = '"turn_id":"' .. ARGV[2] .. '"'
  for _, item in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    if string.find(item, mark, 1, true) then
      if not string.find(item, '"given_up":true', 1, true) then
        redis.call('HDEL', KEYS[2], field)
        return redis.status_reply('0 ' .. redis.call('LLEN', KEYS[1]) + dropped)
      end
      redis.call('LREM', KEYS[1], 1, item)
      dropped = redis.call('HINCRBY', KEYS[2], 'dropped', 1)
    end
  end
end

local length = redis.call('LPUSH', KEYS[1], unpack(ARGV, 4))
local new = length == #ARGV - 3
if max > 0 and length > max then
  redis.call('LTRIM', KEYS[1], 0, max - 1)
  dropped = redis.call('HINCRBY', KEYS[2], 'dropped', length - max)
  length = max
end

if meta[1] then
  redis.call('HDEL', KEYS[2], field)
else
  -- Begun elsewhere: what begin.lua notes of a session is noted here.
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  redis.call('HSET', KEYS[2], 'active', now)
  if not meta[4] then
    redis.call('HSET', KEYS[2], 'created', now)
    if base ~= '0' then
      redis.call('HSET', KEYS[2], 'lost', base)
    end
  end
  if KEYS[3] then
    redis.call('ZADD', KEYS[3], now, ARGV[3])
  end
end

local left = redis.call('PTTL', KEYS[2])
if left < ttl - 1000 then
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl)
elseif new and left > 0 then
  redis.call('PEXPIRE', KEYS[1], left)
end
return redis.status_reply('1 ' .. length + dropped)
