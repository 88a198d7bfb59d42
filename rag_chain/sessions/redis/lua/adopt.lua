-- Make a session of what stage.lua has put beside it, whole: one round trip.
--
-- KEYS[1] list of messages   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- KEYS[4] the user's index (not in a cluster)
-- ARGV[1] id of the filling   ARGV[2] messages   ARGV[3] when it began (ms)   ARGV[4] time to live in ms, -1: for ever
-- ARGV[5] metadata as JSON   ARGV[6] member   ARGV[7] ids of its parts, with spaces between them
--
-- Reply: 1: it is made, now or by the same call before; 0: there is such a session; -1: another filling began
-- meanwhile, or this one took too long; -2: the session was deleted after it began.

if redis.call('EXISTS', KEYS[1]) == 1 or redis.call('HEXISTS', KEYS[2], 'created') == 1 then
  return redis.call('HGET', KEYS[2], 'filled') == ARGV[1] and 1 or 0
end
local copy, count = KEYS[2] .. ':copy', tonumber(ARGV[2])
if redis.call('LINDEX', copy, -1) ~= ARGV[1] or redis.call('LLEN', copy) ~= count + 1 then
  return -1
end
local deletion = tonumber(redis.call('GET', KEYS[3]) or 0)
if deletion >= tonumber(ARGV[3]) then
  redis.call('UNLINK', copy)
  return -2
end
redis.call('RPOP', copy)
if count > 0 then
  redis.call('RENAME', copy, KEYS[1])
end
local clock = redis.call('TIME')
local now = string.format('%d', math.max(clock[1] * 1000 + math.floor(clock[2] / 1000), deletion + 1))
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'created', now, 'life', now, 'active', now, 'data', ARGV[5], 'filled', ARGV[1],
  'appends', ARGV[7])
if count > 0 then
  redis.call('HSET', KEYS[2], 'marks', string.format('%s:0:%d', now, count))
end
for i = 1, 2 do
  if tonumber(ARGV[4]) > 0 then
    redis.call('PEXPIRE', KEYS[i], ARGV[4])
  else
    redis.call('PERSIST', KEYS[i])
  end
end
if KEYS[4] then
  redis.call('ZADD', KEYS[4], now, ARGV[6])
end
return 1
