-- uses take_out.lua
-- Delete one turn: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] ids of turns that were taken back
-- ARGV[1] turn id   ARGV[2] how long the id is kept (ms)
-- ARGV[3] 1: this was kept while the server was away. The turn may come later than this, and then does not stay either.
--
-- Reply: how many messages left the list; 0: the turn was taken back before; -1: it is not there; -2: it is being
-- answered.

local field = 'p:' .. ARGV[1]
if ARGV[3] == '1' then
  redis.call('HDEL', KEYS[2], field)
elseif redis.call('HEXISTS', KEYS[2], field) == 1 then
  return -2
end
redis.call('UNLINK', KEYS[2] .. ':events:' .. ARGV[1])
local newest, oldest = find_turn(KEYS[1], ARGV[1])
if newest then
  return take_out(KEYS[1], KEYS[2], KEYS[3], newest, oldest, tonumber(ARGV[2]))
end
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  return 0
end
if ARGV[3] == '1' then
  local clock = redis.call('TIME')
  redis.call('ZADD', KEYS[3], clock[1] * 1000 + math.floor(clock[2] / 1000), ARGV[1])
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
  return 0
end
return -1
