-- Append the messages of one turn, whole and once, and end its pending question: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] 'begun ttl maximum base again', numbers: when the turn began (ms); time to live in ms, -1: for ever; messages
--   kept at most, 0: all; messages that the session is known to have had, so that their loss is noticed, 0: none; again 1:
--   the turn may have been committed before, though its question is pending (the caller chose its id)
-- ARGV[2] turn id   ARGV[3] member   ARGV[4...] messages as JSON, oldest first
--
-- Reply: 'outcome total', a status line
--   outcome 1: appended, 0: the turn was there already, -1: the session was deleted after the turn began.
--
-- A turn whose pending question is gone, or that was asked again, is looked for in the list. If it has an answer there,
-- it stands: it was committed before and the reply got lost, or the caller asked again without need. Otherwise, failed
-- or a question alone, it leaves the list and the new one is appended. versions.py has the same rule.

local begun, ttl, max, base, again = string.match(ARGV[1], '(%d+) (-?%d+) (%d+) (%d+) (%d)')
ttl, max = tonumber(ttl), tonumber(max)
local field = 'p:' .. ARGV[2]
local meta = redis.call('HMGET', KEYS[2], field, 'deleted', 'dropped', 'created')
local dropped = tonumber(meta[3] or 0)

if meta[2] and tonumber(meta[2]) >= tonumber(begun) then
  redis.call('HDEL', KEYS[2], field)
  return redis.status_reply('-1 ' .. redis.call('LLEN', KEYS[1]) + dropped)
end

if not meta[1] or again == '1' then
  local mark = '"rag_chain":{"turn_id":' .. cjson.encode(ARGV[2])
  -- Of a message of this turn: when it was asked (0 in an answer), whether it is an answer that stands, whether it was
  -- put there because its process died. The note begins as with_note in codec.py writes it.
  local function noted(item)
    local _, last = string.find(item, mark, 1, true)
    if last then
      local note = string.sub(item, last + 1, last + 80)
      local status = string.match(note, '^[,"at:%d]*,"status":"(%a+)"')
      local answered = string.sub(item, 1, 12) == '{"type":"ai"' and status ~= 'failed'
      local given_up = string.find(note, '"status":"interrupted","given_up":true', 1, true)
      return tonumber(string.match(note, '^,"at":(%d+)') or 0), answered, given_up
    end
  end
  local found, asked, stands = {}, 0, false
  for _, item in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    local at, answered = noted(item)
    if at then
      found[#found + 1] = item
      asked = math.max(asked, at)
      stands = stands or answered or item == ARGV[#ARGV]
    end
  end
  if #found > 0 and not stands then
    local _, answered, given_up = noted(ARGV[#ARGV])
    -- A failure that arrives late, from a journal, does not replace what was asked after it.
    stands = given_up or not answered and (noted(ARGV[4]) or 0) < asked
  end
  if stands then
    redis.call('HDEL', KEYS[2], field)
    return redis.status_reply('0 ' .. redis.call('LLEN', KEYS[1]) + dropped)
  end
  for _, item in ipairs(found) do
    redis.call('LREM', KEYS[1], 1, item)
    dropped = redis.call('HINCRBY', KEYS[2], 'dropped', 1)
  end
end

local length = redis.call('LPUSH', KEYS[1], unpack(ARGV, 4))
local new = length == #ARGV - 3
if max > 0 and length > max then
  redis.call('LTRIM', KEYS[1], 0, max - 1)
  dropped = redis.call('HINCRBY', KEYS[2], 'dropped', length - max)
  length = max
end

if meta[1] then
  redis.call('HDEL', KEYS[2], field)
else
  -- Begun elsewhere: what begin.lua notes of a session is noted here.
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  redis.call('HSET', KEYS[2], 'active', now)
  if not meta[4] then
    redis.call('HSET', KEYS[2], 'created', now)
    if base ~= '0' then
      redis.call('HSET', KEYS[2], 'lost', base)
    end
  end
  if KEYS[3] then
    redis.call('ZADD', KEYS[3], now, ARGV[3])
  end
end

local left = redis.call('PTTL', KEYS[2])
if left < ttl - 1000 then
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl)
elseif new and left > 0 then
  redis.call('PEXPIRE', KEYS[1], left)
end
return redis.status_reply('1 ' .. length + dropped)
