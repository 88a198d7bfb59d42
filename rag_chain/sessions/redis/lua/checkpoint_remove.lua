-- uses checkpoints.lua
-- Remove checkpoints of a thread: one, those of a run, or all but the newest of each namespace.
--
-- KEYS[1] list of messages
-- ARGV[1] one: that of the name ARGV[2], 'namespace id'; run: those of run ARGV[2]; prune: what the newest of each namespace does not need; all
-- ARGV[3] time to live in ms
--
-- Reply: how many.

local removed, floors = 0, {}
if ARGV[1] == 'all' then
  removed = count_checkpoints()
  redis.call('UNLINK', checkpoints, order)
  redis.call('HDEL', meta, 'checkpoint')
  return removed
end
if ARGV[1] == 'one' then
  local ns, id = string.match(ARGV[2], '^([^\n]*)\n([^\n]*)$')
  removed = redis.call('ZSCORE', order, 'c\n' .. ARGV[2]) and 1 or 0
  remove(ns, id)
end
for _, member in ipairs(ARGV[1] == 'one' and {} or members('a\n')) do
  local ns, id = split(member)
  local goes = false
  if ARGV[1] == 'run' then
    local _, run = parse_header(redis.call('HGET', checkpoints, 'h\n' .. ns .. '\n' .. id))
    goes = run == ARGV[2]
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
note_members()
renew(tonumber(ARGV[3]))
return removed
