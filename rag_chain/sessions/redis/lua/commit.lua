-- uses take_out.lua
-- Append the messages of one turn, whole and once, and end its pending question: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- KEYS[4] what waiting turns wait on   KEYS[5] ids of turns that were taken back
-- KEYS[6] the user's index (not in a cluster)
-- ARGV[1] 'known begun age ttl maximum base again kept', with limits on spending and 'tokens micros', numbers:
--   known: the last deletion that was known when the turn began   begun: when that was, by this server (ms); 0: the
--   server was away, and it was `age` ms ago   ttl: time to live in ms, -1: for ever   maximum: messages kept, 0: all
--   base: messages that the session is known to have had when the turn began, 0: unknown
--   again: 1, the turn may have been committed before, though its question is pending (the caller chose its id)
--   kept: how long the ids of turns that are taken back are kept (ms)   tokens, micros: what the turn took, of tokens and
--   of millionths of a dollar; counted if it is appended, the money also if its session was deleted meanwhile
-- ARGV[2] turn id   ARGV[3] member
-- ARGV[4] 'digest turn' where it takes the place of another turn: that leaves the list, and what came after it down to
--   the message with this sha1, the newest that the writer saw; else ''
-- ARGV[5...] messages as JSON, oldest first
--
-- Reply: 'outcome total life', a status line; life as in begin.lua
--   outcome 1: appended, 0: the turn was there already, -1: the session was deleted after the turn began, or the turn
--   itself was; -2: the turn whose place it takes was taken back meanwhile, and nothing was done.
--
-- A turn whose pending question is gone, or that was asked again, is looked for in the newest part of the list: among
-- the messages that came since it began, or the newest 400, and never more than 5,000. If it has an answer there, it
-- stands: it was committed before and the reply got lost, or the caller asked again without need. Otherwise, failed or
-- a question alone, it leaves the list and the new one is appended. versions.py has the same rule.
--
-- The field `marks` says of the newest changes 'ms:total before:total after', newest first, in 640 bytes. With it a
-- deletion that arrives late leaves what came after it (delete.lua), and an evicted list is noticed (begin.lua).

local known, begun, age, ttl, max, base, again, kept =
  string.match(ARGV[1], '(%d+) (%d+) (%d+) (-?%d+) (%d+) (%d+) (%d) (%d+)')
known, begun, ttl, max, base = tonumber(known), tonumber(begun), tonumber(ttl), tonumber(max), tonumber(base)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local field = 'p:' .. ARGV[2]
local meta = redis.call('HMGET', KEYS[2], field, 'deleted', 'dropped', 'created', 'marks', 'queued', 'active', 'life')
local dropped = tonumber(meta[3] or 0)
local deletion = tonumber(redis.call('GET', KEYS[3]) or meta[2] or 0)
local length, life = redis.call('LLEN', KEYS[1]), tonumber(meta[8] or meta[4] or now)

if meta[6] and now - meta[6] < 5000 then
  redis.call('DEL', KEYS[4])
  redis.call('LPUSH', KEYS[4], '1')
  redis.call('PEXPIRE', KEYS[4], 5000)
end

local tokens, micros = string.match(ARGV[1], '^%d+ %d+ %d+ %-?%d+ %d+ %d+ %d %d+ (%d+) (%d+)$')
local function count_money()
  if KEYS[6] and micros and micros ~= '0' then
    local spent = KEYS[6] .. ':spent:' .. math.floor(clock[1] / 86400)
    redis.call('INCRBY', spent, micros)
    redis.call('PEXPIRE', spent, 172800000)
  end
end

local function reply(outcome)
  if outcome == -1 then
    count_money()
  end
  redis.call('HDEL', KEYS[2], field)
  return redis.status_reply(string.format('%d %d %d', outcome, length + dropped, life))
end

if deletion > known and deletion >= (begun > 0 and begun or now - age) or redis.call('ZSCORE', KEYS[5], ARGV[2]) then
  return reply(-1)
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
  local depth = math.min(math.max(length + dropped - base, 400), 5000, length)
  local place = 0
  while place < depth do
    local seen = #found
    for _, item in ipairs(redis.call('LRANGE', KEYS[1], place, math.min(place + 100, depth) - 1)) do
      local at, answered = noted(item)
      if at then
        found[#found + 1] = item
        asked = math.max(asked, at)
        stands = stands or answered or item == ARGV[#ARGV]
      end
    end
    -- The messages of a turn are next to each other.
    place = seen > 0 and depth or place + 100
  end
  if #found > 0 and not stands then
    local _, answered, given_up = noted(ARGV[#ARGV])
    -- A failure that arrives late, from a journal, does not replace what was asked after it.
    stands = given_up or not answered and (noted(ARGV[5]) or 0) < asked
  end
  if stands then
    return reply(0)
  end
  for _, item in ipairs(found) do
    redis.call('LREM', KEYS[1], 1, item)
    dropped = redis.call('HINCRBY', KEYS[2], 'dropped', 1)
    length = length - 1
  end
end

if ARGV[4] ~= '' then
  local digest, replaced = string.match(ARGV[4], '^(%x*) (.*)$')
  if redis.call('ZSCORE', KEYS[5], replaced) then
    return redis.status_reply(string.format('-2 %d %d', length + dropped, life))
  end
  local newest, oldest = find_turn(KEYS[1], replaced)
  for place = 0, (newest or 0) - 1 do
    if redis.sha1hex(redis.call('LINDEX', KEYS[1], place)) == digest then
      newest = place
      break
    end
  end
  if newest then
    local count = take_out(KEYS[1], KEYS[2], KEYS[5], newest, oldest, tonumber(kept))
    length, dropped = length - count, tonumber(redis.call('HGET', KEYS[2], 'dropped') or 0)
    meta[5] = redis.call('HGET', KEYS[2], 'marks')
  end
end

local changes = {}
if not meta[1] then
  -- Begun elsewhere: what begin.lua writes of a session is written here.
  changes = {'active', math.max(now, tonumber(meta[7] or 0))}
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
  if KEYS[6] then
    redis.call('ZADD', KEYS[6], now, ARGV[3])
  end
end

local before = length + dropped
local new = length == 0
length = redis.call('LPUSH', KEYS[1], unpack(ARGV, 5))
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
if tokens and tokens ~= '0' then
  redis.call('HINCRBY', KEYS[2], 'tokens', tokens)
end
count_money()
if meta[1] then
  redis.call('HDEL', KEYS[2], field)
end

local left = redis.call('PTTL', KEYS[2])
if left < ttl - 1000 then
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl)
  for _, name in ipairs({'feedback', 'checkpoints', 'order'}) do
    redis.call('PEXPIRE', KEYS[2] .. ':' .. name, ttl)
  end
elseif new and left > 0 then
  redis.call('PEXPIRE', KEYS[1], left)
end
return redis.status_reply(string.format('1 %d %d', length + dropped, life))
