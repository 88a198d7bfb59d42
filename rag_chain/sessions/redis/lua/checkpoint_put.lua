-- uses checkpoints.lua
-- Put a checkpoint, once: one round trip.
--
-- KEYS[1] list of messages   KEYS[2] the user's index, KEYS[3] the threads of the run (not in a cluster)
-- ARGV[1] 'ttl kept listed needed items at order', numbers:
--   ttl: time to live in ms, -1: for ever   kept: checkpoints of the thread   listed: how long a run is found (ms)
--   needed: 1, a parent that is not there is an error   items: how many new items there are
--   at: when it was put, by this server (ms), if it was kept while the server was away; 0: now
--   order: where the parent is not the newest checkpoint any more: 0 and 1: store it; 2: do not
-- ARGV[2] member of the run's threads: 'user/session' or 'session'   ARGV[3] namespace   ARGV[4] id
-- ARGV[5] header   ARGV[6] checkpoint   ARGV[7] metadata
-- ARGV[8] '', or JSON list: the channels that are rebuilt from writes, the life of the thread that lists of items refer
--   to or '', and the fields that have these items
-- ARGV[9...] new items; then channel, value, ... of the channels that changed
--
-- Reply: {1, gen, first, branch}: stored, first: number of the first new item, -1 if a value was there already; branch: 1,
-- the parent was not the newest and order is 1; {0, gen}: it was there already; {-1}: nothing was stored, because another channel has no value here, or items that are referred to are
-- gone: send all values; {-2}: the thread has no such parent; {-3}: the thread was deleted; {-4}: another
-- run has gone on from the parent.

local ttl, kept, listed_ms, needed, count, at, order_of_runs =
  string.match(ARGV[1], '^(-?%d+) (%d+) (%d+) (%d) (%d+) (%d+) (%d)$')
local ns, id, header = ARGV[3], ARGV[4], cjson.decode(ARGV[5])
local rest = ARGV[8] == '' and {{}, '', {}} or cjson.decode(ARGV[8])
local versions, parent, given, start = header.v, header.p or '', {}, 9 + count
ttl, count = tonumber(ttl), tonumber(count)
local name = ns .. '\n' .. id
local old = redis.call('HMGET', checkpoints, 'h\n' .. name, 'c\n' .. name, 'm\n' .. name, 'gen')
if old[1] == ARGV[5] and old[2] == ARGV[6] and old[3] == ARGV[7] then
  renew(ttl)
  return {0, old[4]}
end
if is_deleted_since(tonumber(at)) then
  return {-3}
end
if parent ~= '' and redis.call('HEXISTS', checkpoints, 'h\n' .. ns .. '\n' .. parent) == 0 then
  if not old[4] and redis.call('EXISTS', deleted) == 1 then
    return {-3}
  elseif needed == '1' and (old[4] or redis.call('HEXISTS', meta, 'checkpoint') == 0) then
    return {-2} -- where the server has lost all checkpoints, the run that goes on has what is needed
  end
end
local other = order_of_runs ~= '0' and parent ~= '' and newest(ns) or parent
if other ~= parent and order_of_runs == '2' then
  return {-4}
end
for i = start, #ARGV, 2 do
  given[ARGV[i]] = true
end
for channel, version in pairs(versions) do
  if not given[channel] and redis.call('HEXISTS', checkpoints, 'b\n' .. ns .. '\n' .. channel .. '\n' .. version) == 0 then
    return {-1}
  end
end
if not stands(rest[2], rest[3]) then
  return {-1}
end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if redis.call('EXISTS', list) == 0 and redis.call('HEXISTS', meta, 'created') == 0 then
  redis.call('HSET', meta, 'created', now, 'life', now, 'data', '')
end
redis.call('HSET', meta, 'active', now, 'checkpoint', id)
if KEYS[2] then
  redis.call('ZADD', KEYS[2], now, string.match(ARGV[2], '[^/]*$'))
end
if KEYS[3] then
  redis.call('SADD', KEYS[3], ARGV[2])
  redis.call('PEXPIRE', KEYS[3], listed_ms)
end
local gen = old[4]
if not gen then
  gen = string.format('%d%06d', clock[1], clock[2])
  redis.call('HSET', checkpoints, 'gen', gen)
end
local first = add_items(9, count)
local base = first
for i = start, #ARGV, 2 do
  local is_new = keep('b\n' .. ns .. '\n' .. ARGV[i] .. '\n' .. versions[ARGV[i]], ARGV[i + 1], first)
  base = is_new and base or -1
end
for channel, version in pairs(versions) do
  add('r\n' .. ns .. '\n' .. channel .. '\n' .. version, 1)
end
release(ns, parse_header(old[1]) or {})
redis.call('HSET', checkpoints, 'h\n' .. name, ARGV[5], 'c\n' .. name, ARGV[6], 'm\n' .. name, ARGV[7])
redis.call('ZADD', order, 0, 'c\n' .. name, 0, 'a\n' .. id .. '\n' .. ns)
if #rest[1] > 0 and parent ~= '' then
  local before = parse(redis.call('HGET', checkpoints, 'f\n' .. ns .. '\n' .. parent)) or {}
  local floors = {}
  for _, channel in ipairs(rest[1]) do
    floors[channel] = before[channel] or parent
  end
  redis.call('HSET', checkpoints, 'f\n' .. name, cjson.encode(floors))
end

-- The oldest leave. What runs now stays (it is newer than the newest of the root), and so does the newest checkpoint
-- of each namespace, with what it is rebuilt from; only a task's own namespace ('node:task') goes as a whole.
local excess = count_checkpoints() - kept
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
note_members()
renew(ttl)
return {1, gen, base, other ~= parent and 1 or 0}
