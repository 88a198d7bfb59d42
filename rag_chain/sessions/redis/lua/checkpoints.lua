-- What the scripts of checkpoints share; put before their text, see clients.py.
--
-- KEYS[1] list of messages. The names of the thread's other keys follow from it; all are in its slot.
--
-- Fields of the hash `checkpoints`; parts are separated by a line feed, shown as a space:
--   gen                       names this life of the thread: what a process holds of another one is void
--   count                     checkpoints in it
--   h ns id                   header as JSON: p parent, r run, v versions of channels
--   c ns id, m ns id          checkpoint without its values, and its metadata, as the serialiser wrote them
--   f ns id                   JSON: for channels that are rebuilt from writes, the oldest checkpoint needed for that
--   b ns channel version      value of a channel       r ns channel version   how many checkpoints refer to it
--   w ns id task index        a pending write: 'w' and the path of the task, channel, value
--   i number                  one item (a message) of the lists of this thread; a list is stored as '=0-199,203'
--   next, low, freed          the number of the next item, the lowest one that is in use, lists that left since items did
-- Members of `order`, all with score 0: 'c ns id', 'a id ns', each 'w ns id task index', and 'l field' for each field
-- that lists items.

local list, meta = KEYS[1], 'meta:{' .. KEYS[1] .. '}'
local checkpoints, order, deleted = meta .. ':checkpoints', meta .. ':order', meta .. ':deleted'

local function renew(ttl)
  for _, key in ipairs({list, meta, checkpoints, order}) do
    local left = redis.call('PTTL', key)
    if left ~= -2 and left < ttl - 1000 then
      redis.pcall('PEXPIRE', key, ttl)
    end
  end
end

local function members(first, limit)
  return redis.call('ZRANGEBYLEX', order, '[' .. first, '(' .. first .. '\255', 'LIMIT', 0, limit or -1)
end

local function newest(ns)
  local start = 'c\n' .. ns .. '\n'
  local found = redis.call('ZREVRANGEBYLEX', order, '(' .. start .. '\255', '[' .. start, 'LIMIT', 0, 1)[1]
  return found and string.sub(found, #start + 1)
end

local function drop(field)
  redis.call('HDEL', checkpoints, field)
  if redis.call('ZREM', order, 'l\n' .. field) == 1 then
    redis.call('HINCRBY', checkpoints, 'freed', 1)
  end
end

local function release(ns, versions)
  for channel, version in pairs(versions) do
    local value = ns .. '\n' .. channel .. '\n' .. version
    if redis.call('HINCRBY', checkpoints, 'r\n' .. value, -1) <= 0 then
      redis.call('HDEL', checkpoints, 'r\n' .. value)
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
  local state = redis.call('HMGET', checkpoints, 'freed', 'next', 'low')
  if tonumber(state[1] or 0) < enough then
    return
  end
  local used = {}
  for _, member in ipairs(members('l\n')) do
    local value = redis.call('HGET', checkpoints, string.sub(member, 3))
    local _, items = listed(value or '')
    for first, last in string.gmatch(items or '', '(%d+)-?(%d*)') do
      used[#used + 1] = {tonumber(first), tonumber(last) or tonumber(first)}
    end
  end
  table.sort(used, function(one, other) return one[1] < other[1] end)
  local low, from = nil, tonumber(state[3] or 0)
  used[#used + 1] = {tonumber(state[2] or 0)}
  for _, range in ipairs(used) do
    for number = from, range[1] - 1 do
      redis.call('HDEL', checkpoints, 'i\n' .. string.format('%d', number))
    end
    low = low or range[1]
    from = math.max(from, (range[2] or range[1]) + 1)
  end
  redis.call('HSET', checkpoints, 'freed', 0, 'low', string.format('%d', low))
end

-- Store items; the number of the first.
local function add_items(from, count)
  if count == 0 then
    return 0
  end
  local first = redis.call('HINCRBY', checkpoints, 'next', count) - count
  for i = 0, count - 1 do
    redis.call('HSET', checkpoints, 'i\n' .. string.format('%d', first + i), ARGV[from + i])
  end
  return first
end

-- Store a value, unless there is one, and return whether it is new; '+0' in a list becomes the number of the first item of this call.
local function keep(field, value, first, replaces)
  local head, items = listed(value)
  if items then
    value = head .. '=' .. string.gsub(items, '%+(%d+)', function(number) return string.format('%d', first + number) end)
  end
  local is_new = redis.call(replaces and 'HSET' or 'HSETNX', checkpoints, field, value) == 1
  if is_new and items then
    redis.call('ZADD', order, 0, 'l\n' .. field)
  end
  return is_new
end

-- Whether what a caller holds of the thread still stands: its life, and the fields whose items it refers to.
local function stands(gen, fields)
  if gen ~= '' and redis.call('HGET', checkpoints, 'gen') ~= gen then
    return false
  end
  for _, field in ipairs(fields) do
    if redis.call('HEXISTS', checkpoints, field) == 0 then
      return false
    end
  end
  return true
end

-- Whether the thread was deleted after something was put that was kept elsewhere since; `at` 0: it comes now.
local function is_deleted_since(at)
  return at > 0 and tonumber(redis.call('GET', deleted) or 0) >= at
end

local function remove(ns, id)
  local name = ns .. '\n' .. id
  local header = redis.call('HGET', checkpoints, 'h\n' .. name)
  if header then
    release(ns, cjson.decode(header).v)
    redis.call('HINCRBY', checkpoints, 'count', -1)
  end
  for _, write in ipairs(members('w\n' .. name .. '\n')) do
    drop(write)
    redis.call('ZREM', order, write)
  end
  redis.call('HDEL', checkpoints, 'h\n' .. name, 'c\n' .. name, 'm\n' .. name, 'f\n' .. name)
  redis.call('ZREM', order, 'c\n' .. name, 'a\n' .. id .. '\n' .. ns)
end

-- The oldest checkpoint that the newest one of a namespace needs.
local function floor_of(ns)
  local id = newest(ns)
  local floor = id
  for _, needed in pairs(cjson.decode(redis.call('HGET', checkpoints, 'f\n' .. ns .. '\n' .. (id or '')) or '{}')) do
    floor = needed < floor and needed or floor
  end
  return floor
end

local function split(member) -- 'a id ns'
  local id, ns = string.match(member, '^a\n([^\n]*)\n(.*)$')
  return ns, id
end
