-- uses take_out.lua
-- Keep, remove or read what a user said of turns: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it
-- ARGV[1] turn id; '': only read   ARGV[2] the feedback, 'ms JSON', '' to remove it   ARGV[3] when it was given (ms)
--
-- The feedback is a hash beside the session, in its slot, turn id to 'ms JSON', which expires with the session.
--
-- Reply: reading: {turn id, 'ms JSON', ...}; else 1; 0: there is newer feedback; -1: there is no such turn; -2: it is
-- being answered.

local feedback = KEYS[2] .. ':feedback'
if ARGV[1] == '' then
  return redis.call('HGETALL', feedback)
end
if not find_turn(KEYS[1], ARGV[1]) then
  return redis.call('HEXISTS', KEYS[2], 'p:' .. ARGV[1]) == 1 and -2 or -1
end
local known = redis.call('HGET', feedback, ARGV[1])
if known and tonumber(string.match(known, '^%d+')) > tonumber(ARGV[3]) then
  return 0
end
if ARGV[2] == '' then
  redis.call('HDEL', feedback, ARGV[1])
  return 1
end
redis.call('HSET', feedback, ARGV[1], ARGV[2])
if redis.call('HLEN', feedback) > redis.call('LLEN', KEYS[1]) then
  -- There is some of turns that left the list.
  local turns = {}
  for _, item in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    local turn = turn_of(item)
    if turn then
      turns[turn] = true
    end
  end
  for _, turn in ipairs(redis.call('HKEYS', feedback)) do
    if not turns[turn] then
      redis.call('HDEL', feedback, turn)
    end
  end
end
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  redis.call('PEXPIRE', feedback, left)
else
  redis.call('PERSIST', feedback)
end
return 1
