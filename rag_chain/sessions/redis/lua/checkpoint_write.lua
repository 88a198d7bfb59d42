-- uses checkpoints.lua
-- Put the writes of one task beside its checkpoint: one round trip. The checkpoint may be on its way yet.
--
-- KEYS[1...4] see checkpoints.lua
-- ARGV[1] time to live in ms   ARGV[2] namespace   ARGV[3] id   ARGV[4] task
-- ARGV[5] and ARGV[6] as ARGV[14] and ARGV[15] of checkpoint_put.lua   ARGV[7] number of new items
-- ARGV[8...] new items; then index, value, ...   A value at an index from 0 is stored once, one below 0 replaces the
--   former.
--
-- Reply: 1, or 0: nothing was stored, because items that are referred to are gone: send all values.

if not stands(ARGV[5], ARGV[6]) then
  return 0
end
local first = add_items(8, tonumber(ARGV[7]))
for i = 8 + ARGV[7], #ARGV, 2 do
  local field = 'w\n' .. ARGV[2] .. '\n' .. ARGV[3] .. '\n' .. ARGV[4] .. '\n' .. ARGV[i]
  keep(field, ARGV[i + 1], first, tonumber(ARGV[i]) < 0)
  redis.call('ZADD', KEYS[4], 0, field)
end
renew(tonumber(ARGV[1]))
return 1
