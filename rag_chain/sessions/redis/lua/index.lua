-- The index of a user's sessions by last activity, where it is in another slot than the sessions: a cluster.
--
-- KEYS[1] the index   ARGV[1] add, remove or score   ARGV[2] member   ARGV[3] how long an idle session stays listed (ms)
--
-- Reply: 1; for score the last activity (ms), '' if it is not listed.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[1] == 'add' then
  local over = redis.call('ZCOUNT', KEYS[1], '-inf', now - tonumber(ARGV[3]))
  if over > 0 then
    redis.call('ZREMRANGEBYRANK', KEYS[1], 0, math.min(over, 128) - 1) -- not all at once: that could take long
  end
  redis.call('ZADD', KEYS[1], now, ARGV[2])
elseif ARGV[1] == 'remove' then
  redis.call('ZREM', KEYS[1], ARGV[2])
else
  return redis.call('ZSCORE', KEYS[1], ARGV[2]) or ''
end
return 1
