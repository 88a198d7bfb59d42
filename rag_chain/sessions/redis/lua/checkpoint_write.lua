-- uses checkpoints.lua
-- Put the writes of one task beside its checkpoint: one round trip. The checkpoint may be on its way yet.
--
-- KEYS[1] list of messages
-- ARGV[1] 'ttl items at', numbers: time to live in ms, how many new items there are, at as in checkpoint_put.lua
-- ARGV[2] namespace   ARGV[3] id   ARGV[4] task   ARGV[5] JSON list as ARGV[8] of checkpoint_put.lua, '': nothing is referred to
-- ARGV[6...] new items; then index, value, ...   A value at an index from 0 is stored once, one below 0 replaces the
--   former.
--
-- Reply: number of the first new item, or -1: nothing was stored, because items that are referred to are gone: send all
-- values. Where the thread was deleted since, nothing is stored, which is right.

local ttl, count, at = string.match(ARGV[1], '^(-?%d+) (%d+) (%d+)$')
if is_deleted_since(tonumber(at)) then
  return 0
end
local rest = ARGV[5] ~= '' and cjson.decode(ARGV[5])
if rest and not stands(rest[2], rest[3]) then
  return -1
end
local first = add_items(6, tonumber(count))
for i = 6 + count, #ARGV, 2 do
  local field = 'w\n' .. ARGV[2] .. '\n' .. ARGV[3] .. '\n' .. ARGV[4] .. '\n' .. ARGV[i]
  keep(field, ARGV[i + 1], first, tonumber(ARGV[i]) < 0)
  redis.call('ZADD', order, 0, field)
end
note_members()
renew(tonumber(ttl))
return first
