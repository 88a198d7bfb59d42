-- uses checkpoints.lua
-- Remove checkpoints of a thread: those of a run, or all but the newest of each namespace.
--
-- KEYS[1] list of messages
-- ARGV[1] run: those of run ARGV[2]; prune: what the newest of each namespace does not need; all
--
-- Reply: how many.

local removed, floors = 0, {}
if ARGV[1] == 'all' then
  removed = tonumber(redis.call('HGET', checkpoints, 'count') or 0)
  redis.call('UNLINK', checkpoints, order)
  redis.call('HDEL', meta, 'checkpoint')
  return removed
end
for _, member in ipairs(members('a\n')) do
  local ns, id = split(member)
  local goes = false
  if ARGV[1] == 'run' then
    local header = redis.call('HGET', checkpoints, 'h\n' .. ns .. '\n' .. id)
    goes = header and cjson.decode(header).r == ARGV[2]
  else
    floors[ns] = floors[ns] or floor_of(ns)
    goes = id < floors[ns]
  end
  if goes then
    remove(ns, id)
    removed = removed + 1
  end
end
sweep(1)
return removed
