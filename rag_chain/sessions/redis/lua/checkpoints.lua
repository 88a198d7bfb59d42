-- What the scripts of checkpoints share; put before their text, see clients.py.
--
-- KEYS[1] list of messages   KEYS[2] hash beside it   KEYS[3] hash of checkpoints   KEYS[4] their order
--
-- Fields of KEYS[3]; parts are separated by a line feed, shown as a space:
--   gen                       names this life of the thread: what a process holds of another one is void
--   count                     checkpoints in it
--   h ns id                   header as JSON: p parent, r run, v versions of channels
--   c ns id, m ns id          checkpoint without its values, and its metadata, as the serialiser wrote them
--   f ns id                   JSON: for channels that are rebuilt from writes, the oldest checkpoint needed for that
--   b ns channel version      value of a channel       r ns channel version   how many checkpoints refer to it
--   w ns id task index        a pending write: 'w' and the path of the task, channel, value
--   i number                  one item (a message) of the lists of this thread; a list is stored as '=0-199,203'
--   next, low, freed          the number of the next item, the lowest one that is in use, lists that left since items did
-- Members of KEYS[4], all with score 0: 'c ns id', 'a id ns', each 'w ns id task index', and 'l field' for each field
-- that lists items.

local function renew(ttl)
  for i = 1, 4 do
    local left = redis.call('PTTL', KEYS[i])
    if left ~= -2 and left < ttl - 1000 then
      redis.pcall('PEXPIRE', KEYS[i], ttl)
    end
  end
end

local function members(first, limit)
  return redis.call('ZRANGEBYLEX', KEYS[4], '[' .. first, '(' .. first .. '\255', 'LIMIT', 0, limit or -1)
end

local function newest(ns)
  local start = 'c\n' .. ns .. '\n'
  local found = redis.call('ZREVRANGEBYLEX', KEYS[4], '(' .. start .. '\255', '[' .. start, 'LIMIT', 0, 1)[1]
  return found and string.sub(found, #start + 1)
end

local function drop(field)
  redis.call('HDEL', KEYS[3], field)
  if redis.call('ZREM', KEYS[4], 'l\n' .. field) == 1 then
    redis.call('HINCRBY', KEYS[3], 'freed', 1)
  end
end

local function release(ns, versions)
  for channel, version in pairs(versions) do
    local value = ns .. '\n' .. channel .. '\n' .. version
    if redis.call('HINCRBY', KEYS[3], 'r\n' .. value, -1) <= 0 then
      redis.call('HDEL', KEYS[3], 'r\n' .. value)
      drop('b\n' .. value)
    end
  end
end

-- Of a value that lists items: what stands before the list, and the list; else nil.
local function listed(value)
  local head = string.sub(value, 1, 1) == 'w' and string.match(value, '^w[^\n]*\n[^\n]*\n') or ''
  if string.sub(value, #head + 1, #head + 1) == '=' then
    return head, string.sub(value, #head + 2)
  end
end

-- Remove the items that no list names any more, once enough lists have left.
local function sweep(enough)
  local meta = redis.call('HMGET', KEYS[3], 'freed', 'next', 'low')
  if tonumber(meta[1] or 0) < enough then
    return
  end
  local used = {}
  for _, member in ipairs(members('l\n')) do
    local value = redis.call('HGET', KEYS[3], string.sub(member, 3))
    local _, items = listed(value or '')
    for first, last in string.gmatch(items or '', '(%d+)-?(%d*)') do
      used[#used + 1] = {tonumber(first), tonumber(last) or tonumber(first)}
    end
  end
  table.sort(used, function(one, other) return one[1] < other[1] end)
  local low, from = nil, tonumber(meta[3] or 0)
  used[#used + 1] = {tonumber(meta[2] or 0)}
  for _, range in ipairs(used) do
    for number = from, range[1] - 1 do
      redis.call('HDEL', KEYS[3], 'i\n' .. string.format('%d', number))
    end
    low = low or range[1]
    from = math.max(from, (range[2] or range[1]) + 1)
  end
  redis.call('HSET', KEYS[3], 'freed', 0, 'low', string.format('%d', low))
end

-- Store items; the number of the first.
local function add_items(from, count)
  if count == 0 then
    return 0
  end
  local first = redis.call('HINCRBY', KEYS[3], 'next', count) - count
  for i = 0, count - 1 do
    redis.call('HSET', KEYS[3], 'i\n' .. string.format('%d', first + i), ARGV[from + i])
  end
  return first
end

-- Store a value, unless there is one, and return whether it is new; '+0' in a list becomes the number of the first item of this call.
local function keep(field, value, first, replaces)
  local head, items = listed(value)
  if items then
    value = head .. '=' .. string.gsub(items, '%+(%d+)', function(number) return string.format('%d', first + number) end)
  end
  local is_new = redis.call(replaces and 'HSET' or 'HSETNX', KEYS[3], field, value) == 1
  if is_new and items then
    redis.call('ZADD', KEYS[4], 0, 'l\n' .. field)
  end
  return is_new
end

-- Whether what a caller holds of the thread still stands: its life, and the fields whose items it refers to.
local function stands(gen, fields)
  if gen ~= '' and redis.call('HGET', KEYS[3], 'gen') ~= gen then
    return false
  end
  for _, field in ipairs(cjson.decode(fields)) do
    if redis.call('HEXISTS', KEYS[3], field) == 0 then
      return false
    end
  end
  return true
end

local function remove(ns, id)
  local name = ns .. '\n' .. id
  local header = redis.call('HGET', KEYS[3], 'h\n' .. name)
  if header then
    release(ns, cjson.decode(header).v)
    redis.call('HINCRBY', KEYS[3], 'count', -1)
  end
  for _, write in ipairs(members('w\n' .. name .. '\n')) do
    drop(write)
    redis.call('ZREM', KEYS[4], write)
  end
  redis.call('HDEL', KEYS[3], 'h\n' .. name, 'c\n' .. name, 'm\n' .. name, 'f\n' .. name)
  redis.call('ZREM', KEYS[4], 'c\n' .. name, 'a\n' .. id .. '\n' .. ns)
end

-- The oldest checkpoint that the newest one of a namespace needs.
local function floor_of(ns)
  local id = newest(ns)
  local floor = id
  for _, needed in pairs(cjson.decode(redis.call('HGET', KEYS[3], 'f\n' .. ns .. '\n' .. (id or '')) or '{}')) do
    floor = needed < floor and needed or floor
  end
  return floor
end

local function split(member) -- 'a id ns'
  local id, ns = string.match(member, '^a\n([^\n]*)\n(.*)$')
  return ns, id
end
