-- uses checkpoints.lua
-- Put a copy of a thread's checkpoints where there are none.
--
-- KEYS[1] list of messages   KEYS[2] the user's index (not in a cluster)
-- ARGV[1] time to live in ms   ARGV[2] member   ARGV[3] hash and ARGV[4] order, as checkpoint_dump.lua gave them
--
-- Reply: 1, or 0: there are checkpoints already.

if redis.call('EXISTS', checkpoints) == 1 then
  return 0
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('RESTORE', checkpoints, 0, ARGV[3])
redis.call('RESTORE', order, 0, ARGV[4], 'REPLACE')
redis.call('HSET', checkpoints, 'gen', string.format('%d%06d', clock[1], clock[2]))
if redis.call('EXISTS', list) == 0 and redis.call('HEXISTS', meta, 'created') == 0 then
  redis.call('HSET', meta, 'created', now, 'life', now, 'data', '')
end
redis.call('HSET', meta, 'active', now, 'checkpoint', newest('') or '')
if KEYS[2] then
  redis.call('ZADD', KEYS[2], now, ARGV[2])
end
local ttl = tonumber(ARGV[1])
if ttl > 0 then
  redis.call('PEXPIRE', checkpoints, ttl)
  redis.call('PEXPIRE', order, ttl)
end
renew(ttl)
return 1
