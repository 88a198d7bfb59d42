-- Put a part of a new session beside where it is to be, where no reader sees it: one round trip.
--
-- KEYS[1] list of messages, of the new session   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- ARGV[1] id of this filling   ARGV[2] messages that were put before   ARGV[3] how long an unfinished part stays (ms)
-- ARGV[4...] messages as JSON, oldest first
--
-- Reply: the time, after the last deletion in any case (ms); 0: there is such a session; -1: another filling began meanwhile, or this one took too long.
--
-- The oldest element of the list is the id, so that two fillings of one session never mix.

if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('HEXISTS', KEYS[2], 'created') == 1 then
  return 0
end
local copy = KEYS[2] .. ':copy'
if ARGV[2] == '0' then
  redis.call('DEL', copy)
  redis.call('LPUSH', copy, ARGV[1])
elseif redis.call('LINDEX', copy, -1) ~= ARGV[1] or redis.call('LLEN', copy) ~= tonumber(ARGV[2]) + 1 then
  return -1
end
for i = 4, #ARGV do
  redis.call('LPUSH', copy, ARGV[i])
end
redis.call('PEXPIRE', copy, ARGV[3])
local clock = redis.call('TIME')
return math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), tonumber(redis.call('GET', KEYS[3]) or 0) + 1)
