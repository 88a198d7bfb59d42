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
--   w ns id task index        a pending write: path of the task, channel, value
-- Members of KEYS[4], all with score 0: 'c ns id', 'a id ns', and each 'w ns id task index'.

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

local function release(ns, versions)
  for channel, version in pairs(versions) do
    local value = ns .. '\n' .. channel .. '\n' .. version
    if redis.call('HINCRBY', KEYS[3], 'r\n' .. value, -1) <= 0 then
      redis.call('HDEL', KEYS[3], 'r\n' .. value, 'b\n' .. value)
    end
  end
end

local function remove(ns, id)
  local name = ns .. '\n' .. id
  local header = redis.call('HGET', KEYS[3], 'h\n' .. name)
  if header then
    release(ns, cjson.decode(header).v)
    redis.call('HINCRBY', KEYS[3], 'count', -1)
  end
  for _, write in ipairs(members('w\n' .. name .. '\n')) do
    redis.call('HDEL', KEYS[3], write)
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
