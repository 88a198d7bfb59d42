-- uses checkpoints.lua
-- Put the writes of one task beside its checkpoint: one round trip. The checkpoint may be on its way yet.
--
-- KEYS[1...4] see checkpoints.lua
-- ARGV[1] time to live in ms   ARGV[2] namespace   ARGV[3] id   ARGV[4] task
-- ARGV[5...] index, value, ...   A value at an index from 0 is stored once, one below 0 replaces the former.
--
-- Reply: 1.

for i = 5, #ARGV, 2 do
  local field = 'w\n' .. ARGV[2] .. '\n' .. ARGV[3] .. '\n' .. ARGV[4] .. '\n' .. ARGV[i]
  redis.call(tonumber(ARGV[i]) >= 0 and 'HSETNX' or 'HSET', KEYS[3], field, ARGV[i + 1])
  redis.call('ZADD', KEYS[4], 0, field)
end
renew(tonumber(ARGV[1]))
return 1
