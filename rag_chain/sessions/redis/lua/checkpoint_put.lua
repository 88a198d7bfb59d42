-- uses checkpoints.lua
-- Put a checkpoint, once: one round trip.
--
-- KEYS[1...4] see checkpoints.lua   KEYS[5] mark of the last deletion
-- KEYS[6] the user's index, KEYS[7] the threads of the run (not in a cluster)
-- ARGV[1] time to live in ms, -1: for ever   ARGV[2] checkpoints kept   ARGV[3] how long a run is found (ms)
-- ARGV[4] member of the index   ARGV[5] member of the run's threads   ARGV[6] namespace   ARGV[7] id
-- ARGV[8] parent or ''   ARGV[9] 1: a parent that is not there is an error
-- ARGV[10] header   ARGV[11] checkpoint   ARGV[12] metadata
-- ARGV[13] JSON list of the channels that are rebuilt from writes
-- ARGV[14] the life of the thread that lists of items refer to, or ''   ARGV[15] JSON list of the fields that have these items
-- ARGV[16] number of new items   ARGV[17...] new items; then channel, version, value, ... of the channels that changed
--
-- Reply: {1, gen, first}: stored, first: number of the first new item, -1 if a value was there already; {0, gen}: it was there already; {-1}: nothing
-- was stored, because another channel has no value here, or items that are referred to are gone: send all values;
-- {-2}: the thread has no such parent; {-3}: the thread was deleted.

local ttl, ns, id, parent = tonumber(ARGV[1]), ARGV[6], ARGV[7], ARGV[8]
local name = ns .. '\n' .. id
local versions, given, start = cjson.decode(ARGV[10]).v, {}, 17 + ARGV[16]
local old = redis.call('HMGET', KEYS[3], 'h\n' .. name, 'c\n' .. name, 'm\n' .. name, 'gen')
if old[1] == ARGV[10] and old[2] == ARGV[11] and old[3] == ARGV[12] then
  renew(ttl)
  return {0, old[4]}
end
if parent ~= '' and redis.call('HEXISTS', KEYS[3], 'h\n' .. ns .. '\n' .. parent) == 0 then
  if not old[4] and redis.call('EXISTS', KEYS[5]) == 1 then
    return {-3}
  elseif ARGV[9] == '1' and (old[4] or redis.call('HEXISTS', KEYS[2], 'checkpoint') == 0) then
    return {-2} -- where the server has lost all checkpoints, the run that goes on has what is needed
  end
end
for i = start, #ARGV, 3 do
  given[ARGV[i]] = true
end
for channel, version in pairs(versions) do
  if not given[channel] and redis.call('HEXISTS', KEYS[3], 'b\n' .. ns .. '\n' .. channel .. '\n' .. version) == 0 then
    return {-1}
  end
end
if not stands(ARGV[14], ARGV[15]) then
  return {-1}
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HEXISTS', KEYS[2], 'created') == 0 then
  redis.call('HSET', KEYS[2], 'created', now, 'life', now, 'data', '')
end
redis.call('HSET', KEYS[2], 'active', now, 'checkpoint', id)
if KEYS[6] then
  redis.call('ZADD', KEYS[6], now, ARGV[4])
end
if KEYS[7] then
  redis.call('SADD', KEYS[7], ARGV[5])
  redis.call('PEXPIRE', KEYS[7], ARGV[3])
end
local gen = old[4]
if not gen then
  gen = string.format('%d%06d', clock[1], clock[2])
  redis.call('HSET', KEYS[3], 'gen', gen)
end
local first = add_items(17, tonumber(ARGV[16]))
local base = first
for i = start, #ARGV, 3 do
  local is_new = keep('b\n' .. ns .. '\n' .. ARGV[i] .. '\n' .. ARGV[i + 1], ARGV[i + 2], first)
  base = is_new and base or -1
end
for channel, version in pairs(versions) do
  redis.call('HINCRBY', KEYS[3], 'r\n' .. ns .. '\n' .. channel .. '\n' .. version, 1)
end
if old[1] then
  release(ns, cjson.decode(old[1]).v)
else
  redis.call('HINCRBY', KEYS[3], 'count', 1)
end
redis.call('HSET', KEYS[3], 'h\n' .. name, ARGV[10], 'c\n' .. name, ARGV[11], 'm\n' .. name, ARGV[12])
redis.call('ZADD', KEYS[4], 0, 'c\n' .. name, 0, 'a\n' .. id .. '\n' .. ns)
local rebuilt = cjson.decode(ARGV[13])
if #rebuilt > 0 and parent ~= '' then
  local before = cjson.decode(redis.call('HGET', KEYS[3], 'f\n' .. ns .. '\n' .. parent) or '{}')
  local floors = {}
  for _, channel in ipairs(rebuilt) do
    floors[channel] = before[channel] or parent
  end
  redis.call('HSET', KEYS[3], 'f\n' .. name, cjson.encode(floors))
end

-- The oldest leave. What runs now stays (it is newer than the newest of the root), and so does the newest checkpoint
-- of each namespace, with what it is rebuilt from; only a task's own namespace ('node:task') goes as a whole.
local excess = redis.call('HGET', KEYS[3], 'count') - ARGV[2]
if excess > 0 then
  local root, floors = newest(''), {}
  for _, member in ipairs(members('a\n', excess + 64)) do
    local where, which = split(member)
    if excess <= 0 or root and which >= root and where ~= '' then
      break
    end
    if not floors[where] then
      floors[where] = string.find(where, ':[^|]*$') and root and '\255' or floor_of(where)
    end
    if which < floors[where] and which ~= id then
      remove(where, which)
      excess = excess - 1
    end
  end
end
sweep(64)
renew(ttl)
return {1, gen, base}
