-- Delete a session, or only its messages, and leave a mark that a late turn or a replay is compared with.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- KEYS[4] what waiting turns wait on   KEYS[5] ids of turns that were taken back
-- KEYS[6] the user's index (not in a cluster)
-- ARGV[1] '' for a deletion of now; of one that was kept while the server was away, when that was, by this server (ms)
-- ARGV[2] how long the mark stays (ms)
-- ARGV[3] 1: the session stays, only its messages go   ARGV[4] member
-- ARGV[5...] turns that were erased where they were kept while the server was away. A server that was frozen, or behind
--   a slow network, may do what was sent to it of them long after it was given up; that goes too.
--
-- Reply: {1 if there was a session or a message, else 0; messages that went; checkpoints that went}
--
-- A deletion that arrives late deletes what was there when it was asked for. What came after it stays: the marks of
-- commit.lua say which messages those are. The checkpoints of the thread go, too, unless the first of them is younger.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local meta = redis.call('HMGET', KEYS[2], 'created', 'deleted', 'data', 'active', 'marks', 'dropped', 'queued',
  'tokens')
local deletion = tonumber(redis.call('GET', KEYS[3]) or meta[2] or 0)
local length, dropped = redis.call('LLEN', KEYS[1]), tonumber(meta[6] or 0)
local left = redis.call('PTTL', KEYS[2])
local erased = {}
for i = 5, #ARGV do
  erased[ARGV[i]] = true
  redis.call('HDEL', KEYS[2], 'p:' .. ARGV[i])
end
local at
if ARGV[1] == '' then
  at = math.max(now, deletion + 1, tonumber(meta[4] or 0) + 1)
else
  at = math.min(now, tonumber(ARGV[1]))
  if deletion >= at then
    return {0, 0, 0}
  end
end
redis.call('SET', KEYS[3], string.format('%d', at), 'PX', ARGV[2])

-- The names of what follows are those of KEYS[2] and more, in its slot.
local events = KEYS[2] .. ':events'
for _, turn in ipairs(redis.call('SMEMBERS', events)) do
  redis.call('UNLINK', events .. ':' .. turn)
end
redis.call('UNLINK', events, KEYS[2] .. ':copy')
local checkpoints, threads = KEYS[2] .. ':checkpoints', 0
local gen = tonumber(redis.pcall('HGET', checkpoints, 'gen')) -- nil, too, if another client has put something else there
if not gen or gen / 1000 <= at then
  threads = tonumber(redis.pcall('ZLEXCOUNT', KEYS[2] .. ':order', '[a\n', '(a\n\255')) or 0
  redis.call('UNLINK', checkpoints, KEYS[2] .. ':order')
  redis.call('HDEL', KEYS[2], 'checkpoint')
end

local before = length + dropped -- messages ever in the list when the deletion was asked for
if ARGV[1] ~= '' then
  for one in string.gmatch(meta[5] or '', '%S+') do
    local ms, start = string.match(one, '^(%d+):(%d+):')
    if tonumber(ms) <= at then
      break
    end
    before = tonumber(start)
  end
  if meta[1] and tonumber(meta[1]) > at then
    before = dropped -- all of it came after
  end
end
local after = math.min(length, length + dropped - before)
local newest, gone = {}, {} -- what stays, newest first; the positions of what goes from among it
if after > 0 and #ARGV > 4 then
  for place, item in ipairs(redis.call('LRANGE', KEYS[1], 0, after - 1)) do
    local turn = string.match(item, '"rag_chain":{"turn_id":"([^"]+)"')
    if turn and erased[turn] then
      gone[#gone + 1] = length + dropped - place
    else
      newest[#newest + 1] = item
    end
  end
  after = #newest
end
if #gone == 0 and after == length and ARGV[1] ~= '' and meta[1] and tonumber(meta[1]) > at then
  return {0, 0, threads}
end
if after > 0 then
  if #gone > 0 then
    local expires = redis.call('PTTL', KEYS[1])
    redis.call('DEL', KEYS[1])
    for _, item in ipairs(newest) do
      redis.call('RPUSH', KEYS[1], item)
    end
    if expires > 0 then
      redis.call('PEXPIRE', KEYS[1], expires)
    end
  else
    redis.call('LTRIM', KEYS[1], 0, after - 1)
  end
  local stays = {}
  for _, item in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    stays[string.match(item, '"rag_chain":{"turn_id":"([^"]+)"') or ''] = true
  end
  for _, turn in ipairs(redis.call('HKEYS', KEYS[2] .. ':feedback')) do
    if not stays[turn] then
      redis.call('HDEL', KEYS[2] .. ':feedback', turn)
    end
  end
  local function moved(position)
    local down = before
    for _, place in ipairs(gone) do
      down = down + (place < position and 1 or 0)
    end
    return position - down
  end
  local marks = ''
  for ms, start, stop in string.gmatch(meta[5] or '', '(%d+):(%d+):(%d+)') do
    start, stop = tonumber(start), tonumber(stop)
    if start >= before and moved(stop) > moved(start) then
      marks = marks .. string.format('%s:%d:%d ', ms, moved(start), moved(stop))
    end
  end
  redis.call('HDEL', KEYS[2], 'dropped', 'lost', 'restored', 'summary', 'deleted')
  redis.call('HSET', KEYS[2], 'created', string.format('%d', at + 1), 'marks', marks)
  return {1, length - after, threads}
end

local pending = {}
if ARGV[1] ~= '' then
  -- Turns that began after the deletion go on.
  local fields = redis.call('HGETALL', KEYS[2])
  for i = 1, #fields, 2 do
    local begun = string.sub(fields[i], 1, 2) == 'p:' and string.match(fields[i + 1], '^{"begun":(%d+)')
    if begun and tonumber(begun) > at then
      pending[#pending + 1], pending[#pending + 2] = fields[i], fields[i + 1]
    end
  end
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[4], KEYS[5], KEYS[2] .. ':feedback')
if meta[7] then
  redis.call('LPUSH', KEYS[4], '1')
  redis.call('PEXPIRE', KEYS[4], 5000)
end
if ARGV[3] == '1' and meta[1] or #pending > 0 then
  redis.call('HSET', KEYS[2], 'created', meta[1] or now, 'active', math.max(now, at), 'data',
    ARGV[3] == '1' and meta[3] or '', 'life', string.format('%d', at), unpack(pending))
  if ARGV[3] == '1' and meta[8] then
    redis.call('HSET', KEYS[2], 'tokens', meta[8]) -- what it has used stays used
  end
  if left > 0 then
    redis.call('PEXPIRE', KEYS[2], left)
  end
elseif KEYS[6] then
  redis.call('ZREM', KEYS[6], ARGV[4])
end
return {(meta[1] or length > 0) and 1 or 0, length, threads}
