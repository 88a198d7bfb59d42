-- uses checkpoints.lua
-- Read a checkpoint with the values of its channels and its pending writes: one round trip. What the reader holds is
-- checked and not sent again.
--
-- KEYS[1] list of messages   KEYS[2] the user's index (not in a cluster)
-- ARGV[1] time to live in ms   ARGV[2] namespace   ARGV[3] id, '': the newest
-- ARGV[4] the life of the thread that the reader holds, or ''; of that:
-- ARGV[5] id of the checkpoint that it holds whole   ARGV[6] JSON: versions of the channels whose values it holds
-- ARGV[7] numbers of the items that it holds, in ascending order   ARGV[8] session id
--
-- Reply: {} where there is none; {'', ms} where the reader holds the thread and the server has nothing of it, not even in the
--   index, which keeps what expired: it has lost its data; ms: when the thread or all of its user was last deleted, or 0;
--    {id} where the thread has lost a part of it; {id, gen, header, checkpoint, metadata,
--   {channel, value, ...}, {task, index, value, ...}, {number, item, ...}}. Header, checkpoint and metadata are '' where the
--   reader holds the checkpoint. A value or an item that is lost is missing.

local ns, id = ARGV[2], ARGV[3]

local function none()
  if ARGV[4] == '' or not KEYS[2] or redis.call('EXISTS', checkpoints, meta) > 0
    or redis.call('ZSCORE', KEYS[2], ARGV[8]) then
    return {}
  end
  local of_thread, of_user = tonumber(redis.call('GET', deleted)) or 0, tonumber(redis.call('GET', KEYS[2] .. ':erased')) or 0
  return {'', string.format('%d', math.max(of_thread, of_user))}
end

if id == '' then
  id = newest(ns)
  if not id then
    -- Nothing, or not any more?
    local last = ns == '' and redis.call('EXISTS', checkpoints) == 0 and redis.call('HGET', meta, 'checkpoint')
    return last and {last} or none()
  end
end
local name = ns .. '\n' .. id
local found = redis.call('HMGET', checkpoints, 'gen', 'h\n' .. name, 'c\n' .. name, 'm\n' .. name)
local versions = parse_header(found[2])
if not versions or not found[3] or not found[4] then
  return redis.call('ZSCORE', order, 'c\n' .. name) and {id} or none()
end

local held, ranges, whole = {}, {}, false
if ARGV[4] ~= '' and found[1] == ARGV[4] then
  held, whole = cjson.decode(ARGV[6]), ARGV[5] == id
  for first, last in string.gmatch(ARGV[7], '(%d+)-?(%d*)') do
    ranges[#ranges + 1] = {tonumber(first), tonumber(last) or tonumber(first)}
  end
end
local values, writes, items, sent = {}, {}, {}, {}

-- Send the items of a value that the reader does not hold.
local function send(value)
  local _, list = listed(value)
  for first, last in string.gmatch(list or '', '(%d+)-?(%d*)') do
    local number, stop = tonumber(first), tonumber(last) or tonumber(first)
    for _, range in ipairs(ranges) do
      if range[2] >= number then
        -- What lies before this range is not held.
        while number <= stop and number < range[1] do
          sent[number], number = true, number + 1
        end
        number = math.max(number, range[2] + 1)
      end
      if number > stop then
        break
      end
    end
    while number <= stop do
      sent[number], number = true, number + 1
    end
  end
end

for channel, version in pairs(versions) do
  if not whole and held[channel] ~= version then
    local value = redis.call('HGET', checkpoints, 'b\n' .. ns .. '\n' .. channel .. '\n' .. tostring(version))
    if value then
      values[#values + 1], values[#values + 2] = channel, value
      send(value)
    end
  end
end
local start = 'w\n' .. name .. '\n'
for _, write in ipairs(members(start)) do
  local value = redis.call('HGET', checkpoints, write)
  local task, index = string.match(string.sub(write, #start + 1), '^(.*)\n(-?%d+)$')
  if not value or not task then
    return {id}
  end
  writes[#writes + 1], writes[#writes + 2], writes[#writes + 3] = task, index, value
  send(value)
end
for number in pairs(sent) do
  local item = redis.call('HGET', checkpoints, 'i\n' .. string.format('%d', number))
  if item then
    items[#items + 1], items[#items + 2] = string.format('%d', number), item
  end
end
renew(tonumber(ARGV[1]))
if whole then
  found[2], found[3], found[4] = '', '', ''
end
return {id, found[1] or '', found[2], found[3], found[4], values, writes, items}
