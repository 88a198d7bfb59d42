-- Append messages that are no turn, whole and once: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- KEYS[4] the user's index (not in a cluster)
-- ARGV[1] 'known begun age ttl maximum base late', numbers: as for commit.lua; late 1: this was kept while the server
--   was away, and a deletion may have come after it
-- ARGV[2] id of this append   ARGV[3] member   ARGV[4...] messages as JSON, oldest first
--
-- Reply: 'outcome total life', as commit.lua. The newest 32 ids are kept, so that a repeat changes nothing.

local known, begun, age, ttl, max, base, late =
  string.match(ARGV[1], '(%d+) (%d+) (%d+) (-?%d+) (%d+) (%d+) (%d)')
known, begun, ttl, max, base = tonumber(known), tonumber(begun), tonumber(ttl), tonumber(max), tonumber(base)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local length = redis.call('LLEN', KEYS[1])
local meta = redis.call('HMGET', KEYS[2], 'appends', 'deleted', 'dropped', 'created', 'marks', 'active', 'life')
local appends, dropped, life = meta[1] or '', tonumber(meta[3] or 0), tonumber(meta[7] or meta[4] or now)
local deletion = tonumber(redis.call('GET', KEYS[3]) or meta[2] or 0)

local function reply(outcome)
  return redis.status_reply(string.format('%d %d %d', outcome, length + dropped, life))
end

if late == '1' and deletion > known and deletion >= (begun > 0 and begun or now - age) then
  return reply(-1)
end
if string.find(appends, ARGV[2], 1, true) then
  return reply(0)
end

local changes = {'active', math.max(now, tonumber(meta[6] or 0)), 'appends', string.sub(ARGV[2] .. ' ' .. appends, 1, 32 * 33)}
if not meta[4] then
  for _, change in ipairs({'created', now, 'life', life}) do
    changes[#changes + 1] = change
  end
  if base > length then
    local lost = base - length
    dropped = dropped + lost
    for _, change in ipairs({'lost', lost, 'dropped', dropped, 'restored', base}) do
      changes[#changes + 1] = change
    end
  end
end
local before = length + dropped
for i = 4, #ARGV do
  length = redis.call('LPUSH', KEYS[1], ARGV[i])
end
local marks = string.format('%d:%d:%d', now, before, length + dropped)
if meta[5] then
  marks = marks .. ' ' .. meta[5]
  if #marks > 640 then
    marks = string.match(string.sub(marks, 1, 640), '^(.*) ')
  end
end
changes[#changes + 1], changes[#changes + 2] = 'marks', marks
if max > 0 and length > max then
  redis.call('LTRIM', KEYS[1], 0, max - 1)
  dropped = dropped + length - max
  changes[#changes + 1], changes[#changes + 2] = 'dropped', dropped
  length = max
end
redis.call('HSET', KEYS[2], unpack(changes))
if KEYS[4] then
  redis.call('ZADD', KEYS[4], now, ARGV[3])
end
for i = 1, 2 do
  if redis.call('PTTL', KEYS[i]) < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
    for _, name in ipairs({'feedback', 'checkpoints', 'order'}) do
      redis.call('PEXPIRE', KEYS[2] .. ':' .. name, ttl)
    end
  end
end
return reply(1)
