-- uses checkpoints.lua
-- Read a checkpoint with the values of its channels and its pending writes: one round trip.
--
-- KEYS[1...4] see checkpoints.lua
-- ARGV[1] time to live in ms   ARGV[2] namespace   ARGV[3] id, '': the newest
--
-- Reply: {} where there is none; {id} where the thread has lost it; {id, gen, header, checkpoint, metadata,
--   {channel, value, ...}, {task, index, value, ...}}. A value that is lost is missing.

local ns, id = ARGV[2], ARGV[3]
if id == '' then
  id = newest(ns)
  if not id then
    -- Nothing, or not any more?
    local last = ns == '' and redis.call('EXISTS', KEYS[3]) == 0 and redis.call('HGET', KEYS[2], 'checkpoint')
    return last and {last} or {}
  end
end
local name = ns .. '\n' .. id
local found = redis.call('HMGET', KEYS[3], 'gen', 'h\n' .. name, 'c\n' .. name, 'm\n' .. name)
if not found[2] or not found[3] or not found[4] then
  return redis.call('ZSCORE', KEYS[4], 'c\n' .. name) and {id} or {}
end
local values, writes = {}, {}
for channel, version in pairs(cjson.decode(found[2]).v) do
  local value = redis.call('HGET', KEYS[3], 'b\n' .. ns .. '\n' .. channel .. '\n' .. version)
  if value then
    values[#values + 1], values[#values + 2] = channel, value
  end
end
local start = 'w\n' .. name .. '\n'
for _, write in ipairs(members(start)) do
  local value = redis.call('HGET', KEYS[3], write)
  if value then
    local task, index = string.match(string.sub(write, #start + 1), '^(.*)\n(-?%d+)$')
    writes[#writes + 1], writes[#writes + 2], writes[#writes + 3] = task, index, value
  end
end
renew(tonumber(ARGV[1]))
return {id, found[1] or '', found[2], found[3], found[4], values, writes}
