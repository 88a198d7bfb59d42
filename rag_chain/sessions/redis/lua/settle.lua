-- Put the questions of turns that died into the list, as interrupted: one round trip, only when there are any.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] ids of turns that were taken back
-- ARGV[1] messages kept at most, 0: all   ARGV[2] time to live in ms, -1: for ever
-- ARGV[3...] turn id, message as JSON, turn id, message as JSON, ... in the order of asking
--
-- Reply: how many were put. A turn that was settled, committed or taken back meanwhile is left alone, and so is one that is among
-- the newest 1,000 messages from before it was asked again.

local put = 0
local function is_stored(turn_id)
  local mark = '"rag_chain":{"turn_id":' .. cjson.encode(turn_id)
  for _, item in ipairs(redis.call('LRANGE', KEYS[1], 0, 999)) do
    if string.find(item, mark, 1, true) then
      return true
    end
  end
  return false
end
for i = 3, #ARGV, 2 do
  local field = 'p:' .. ARGV[i]
  if redis.call('HEXISTS', KEYS[2], field) == 1 then
    if not is_stored(ARGV[i]) and not redis.call('ZSCORE', KEYS[3], ARGV[i]) then
      redis.call('LPUSH', KEYS[1], ARGV[i + 1])
      put = put + 1
    end
    redis.call('HDEL', KEYS[2], field)
  end
end
local length, max = redis.call('LLEN', KEYS[1]), tonumber(ARGV[1])
if max > 0 and length > max then
  redis.call('LTRIM', KEYS[1], 0, max - 1)
  redis.call('HINCRBY', KEYS[2], 'dropped', length - max)
end
local ttl = tonumber(ARGV[2])
if put > 0 and redis.call('PTTL', KEYS[1]) < ttl then
  redis.call('PEXPIRE', KEYS[1], ttl)
end
return put
