-- uses checkpoints.lua
-- Put a copy of a thread's checkpoints where there are none.
--
-- KEYS[1...4] see checkpoints.lua   KEYS[5] the user's index (not in a cluster)
-- ARGV[1] time to live in ms   ARGV[2] member   ARGV[3] hash and ARGV[4] order, as checkpoint_dump.lua gave them
--
-- Reply: 1, or 0: there are checkpoints already.

if redis.call('EXISTS', KEYS[3]) == 1 then
  return 0
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('RESTORE', KEYS[3], 0, ARGV[3])
redis.call('RESTORE', KEYS[4], 0, ARGV[4], 'REPLACE')
redis.call('HSET', KEYS[3], 'gen', string.format('%d%06d', clock[1], clock[2]))
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HEXISTS', KEYS[2], 'created') == 0 then
  redis.call('HSET', KEYS[2], 'created', now, 'life', now, 'data', '')
end
redis.call('HSET', KEYS[2], 'active', now, 'checkpoint', newest('') or '')
if KEYS[5] then
  redis.call('ZADD', KEYS[5], now, ARGV[2])
end
local ttl = tonumber(ARGV[1])
if ttl > 0 then
  redis.call('PEXPIRE', KEYS[3], ttl)
  redis.call('PEXPIRE', KEYS[4], ttl)
end
renew(ttl)
return 1
