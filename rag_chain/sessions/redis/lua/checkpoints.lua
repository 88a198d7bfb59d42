-- What the scripts of checkpoints share; put before their text, see clients.py.
--
-- KEYS[1] list of messages. The names of the thread's other keys follow from it; all are in its slot.
--
-- Fields of the hash `checkpoints`; parts are separated by a line feed, shown as a space:
--   gen                       names this life of the thread: what a process holds of another one is void
--   h ns id                   header as JSON: p parent, r run, v versions of channels
--   c ns id, m ns id          checkpoint without its values, and its metadata, as the serialiser wrote them
--   f ns id                   JSON: for channels that are rebuilt from writes, the oldest checkpoint needed for that
--   b ns channel version      value of a channel       r ns channel version   how many checkpoints refer to it
--   w ns id task index        a pending write: 'w' and the path of the task, channel, value
--   i number                  one item (a message) of the lists of this thread; a list is stored as '=0-199,203;check'
--   next, low, freed          the number of the next item, the lowest one that is in use, lists that left since items did
--   members                   how many members `order` has
-- Members of `order`, all with score 0: 'c ns id', 'a id ns', each 'w ns id task index', and 'l field' for each field
-- that lists items. All follow from the hash: where another client or an eviction took some, they are made again.
--
-- What another client has put there in place of a number or of JSON must not end a script half way.

local list, meta = KEYS[1], 'meta:{' .. KEYS[1] .. '}'
local checkpoints, order, deleted = meta .. ':checkpoints', meta .. ':order', meta .. ':deleted'

local function renew(ttl)
  for _, key in ipairs({list, meta, checkpoints, order, meta .. ':feedback'}) do
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

-- Add to a number; where there is something else, nothing is known of it, and it becomes a large one.
local function add(field, by)
  local number = redis.pcall('HINCRBY', checkpoints, field, by)
  if type(number) == 'table' then
    number = 1000000
    redis.call('HSET', checkpoints, field, number)
  end
  return number
end

local function drop(field)
  redis.call('HDEL', checkpoints, field)
  if redis.call('ZREM', order, 'l\n' .. field) == 1 then
    add('freed', 1)
  end
end

-- JSON as a table; nil: it is none.
local function parse(text)
  local is_json, parsed = pcall(cjson.decode, text or '')
  return is_json and type(parsed) == 'table' and parsed or nil
end

-- The versions of the channels in a header, and the run; nil: it is none.
local function parse_header(text)
  local header = parse(text)
  if header and type(header.v) == 'table' then
    return header.v, header.r
  end
end

local function release(ns, versions)
  for channel, version in pairs(versions) do
    local value = ns .. '\n' .. channel .. '\n' .. tostring(version)
    if add('r\n' .. value, -1) <= 0 then
      redis.call('HDEL', checkpoints, 'r\n' .. value)
      drop('b\n' .. value)
    end
  end
end

-- Of a value that lists items: what stands before the list, the list, and its check; else nil.
local function listed(value)
  local head = string.sub(value, 1, 1) == 'w' and string.match(value, '^w[^\n]*\n[^\n]*\n') or ''
  if string.sub(value, #head + 1, #head + 1) == '=' then
    local items = string.match(value, '^[^;]*', #head + 2)
    return head, items, string.sub(value, #head + 2 + #items)
  end
end

-- Remove the items that no list names any more, once enough lists have left.
local function sweep(enough)
  local state = redis.call('HMGET', checkpoints, 'freed', 'next', 'low')
  if (tonumber(state[1]) or 0) < enough then
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
  local low, from = nil, tonumber(state[3]) or 0
  used[#used + 1] = {tonumber(state[2]) or 0}
  for _, range in ipairs(used) do
    for number = from, range[1] - 1 do
      redis.call('HDEL', checkpoints, 'i\n' .. string.format('%d', number))
    end
    low = low or range[1]
    from = math.max(from, (range[2] or range[1]) + 1)
  end
  redis.call('HSET', checkpoints, 'freed', 0, 'low', string.format('%d', low))
end

local function has_item(number)
  return redis.call('HEXISTS', checkpoints, 'i\n' .. string.format('%d', number)) == 1
end

-- Store items; the number of the first.
local function add_items(from, count)
  if count == 0 then
    return 0
  end
  local first = tonumber(redis.call('HGET', checkpoints, 'next'))
  if not first or first % 1 ~= 0 or has_item(first) or has_item(first + count - 1) then
    first = 0
    for _, field in ipairs(redis.call('HKEYS', checkpoints)) do
      first = math.max(first, 1 + (tonumber(string.match(field, '^i\n(%d+)$')) or -1))
    end
  end
  redis.call('HSET', checkpoints, 'next', string.format('%d', first + count))
  for i = 0, count - 1 do
    redis.call('HSET', checkpoints, 'i\n' .. string.format('%d', first + i), ARGV[from + i])
  end
  return first
end

-- Store a value, unless there is one, and return whether it is new; '+0' in a list becomes the number of the first item of this call.
local function keep(field, value, first, replaces)
  local head, items, check = listed(value)
  if items then
    items = string.gsub(items, '%+(%d+)', function(number) return string.format('%d', first + number) end)
    value = head .. '=' .. items .. check
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
  release(ns, parse_header(redis.call('HGET', checkpoints, 'h\n' .. name)) or {})
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
  local stored = redis.call('HGET', checkpoints, 'f\n' .. ns .. '\n' .. (id or ''))
  for _, needed in pairs(parse(stored or '{}') or {''}) do -- where it can't be read, all may be needed
    floor = tostring(needed) < floor and tostring(needed) or floor
  end
  return floor
end

local function count_checkpoints()
  return redis.call('ZLEXCOUNT', order, '[a\n', '(a\n\255')
end

-- Note how many members `order` has, after it was changed.
local function note_members()
  if redis.call('EXISTS', checkpoints) == 1 then
    redis.call('HSET', checkpoints, 'members', redis.call('ZCARD', order))
  end
end

-- Make the members of `order` again if some are missing.
local function mend()
  local known = tonumber(redis.call('HGET', checkpoints, 'members'))
  if known == redis.call('ZCARD', order) or redis.call('EXISTS', checkpoints) == 0 then
    return
  end
  for _, field in ipairs(redis.call('HKEYS', checkpoints)) do
    local kind, name = string.sub(field, 1, 2), string.sub(field, 3)
    local ns, id = string.match(name, '^([^\n]*)\n([^\n]*)$')
    if kind == 'h\n' and ns then
      redis.call('ZADD', order, 0, 'c\n' .. name, 0, 'a\n' .. id .. '\n' .. ns)
    elseif kind == 'w\n' then
      redis.call('ZADD', order, 0, field)
    end
    if (kind == 'w\n' or kind == 'b\n') and listed(redis.call('HGET', checkpoints, field)) then
      redis.call('ZADD', order, 0, 'l\n' .. field)
    end
  end
  local left = redis.call('PTTL', checkpoints)
  if left > 0 then
    redis.call('PEXPIRE', order, left)
  end
  note_members()
end

local function split(member) -- 'a id ns'
  local id, ns = string.match(member, '^a\n([^\n]*)\n(.*)$')
  return ns, id
end

mend()
