-- Read a session and, when a turn begins, write its question down: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] window: messages wanted, at most
-- ARGV[2] time to live in ms; 0: write nothing (a server that refuses writes), -1: keep the session for ever
-- ARGV[3] total, ARGV[4] count, ARGV[5] sha1: what the caller holds, that is the newest `count` messages when
--         `total` had ever been in the list, and the digest of them joined newest first; count 0: nothing
-- ARGV[6] turn id; '': only a read
-- ARGV[7] the pending question as JSON   ARGV[8] 1: refuse while another turn is under way
-- ARGV[9] member   ARGV[10] how long an idle session stays listed (ms)
--
-- Reply: {began, now, created, deleted, lost, total, held, items, pending}
--   began 1: the turn is noted, 0: refused or a read; created and deleted: ms or ''; lost: messages known to
--   be lost or ''; total: messages ever in the list, as far as known; held 1: what the caller holds is right
--   and `items` holds what is newer, 0: `items` is the window; items newest first; pending: {turn id, JSON, ...}
--   of the other turns.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local length = redis.call('LLEN', KEYS[1])
local fields = redis.call('HGETALL', KEYS[2])
local meta, pending = {}, {}
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 2) == 'p:' then
    local turn = string.sub(fields[i], 3)
    if turn ~= ARGV[6] then
      pending[#pending + 1] = turn
      pending[#pending + 1] = fields[i + 1]
    end
  else
    meta[fields[i]] = fields[i + 1]
  end
end

local window, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local total = length + tonumber(meta.dropped or 0)
local newer, count = total - tonumber(ARGV[3]), tonumber(ARGV[4])
local held, items = 0, nil
if count > 0 and newer >= 0 and newer < window then
  local known = redis.call('LRANGE', KEYS[1], newer, newer + count - 1)
  if #known == count and redis.sha1hex(table.concat(known)) == ARGV[5] then
    held = 1
    items = newer > 0 and redis.call('LRANGE', KEYS[1], 0, newer - 1) or {}
  end
end
if not items then
  items = window > 0 and redis.call('LRANGE', KEYS[1], 0, window - 1) or {}
end

local began = 0
if ttl ~= 0 then
  if ARGV[6] ~= '' and not (ARGV[8] == '1' and #pending > 0) then
    began = 1
    redis.call('HSET', KEYS[2], 'p:' .. ARGV[6], ARGV[7])
    if not meta.created then
      redis.call('HSET', KEYS[2], 'created', now)
      if KEYS[3] then
        redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[10]))
      end
    end
  end
  if meta.created or began == 1 then
    redis.call('HSET', KEYS[2], 'active', now)
    if KEYS[3] then
      redis.call('ZADD', KEYS[3], now, ARGV[9])
    end
  end
  for i = 1, 2 do
    local left = redis.call('PTTL', KEYS[i])
    if left ~= -2 and left < ttl then
      redis.call('PEXPIRE', KEYS[i], ttl)
    end
  end
end
return {began, now, meta.created or '', meta.deleted or '', meta.lost or '', total, held, items, pending}
