-- Read a session and, when a turn begins, write its question down: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] 'window ttl total count whole alone listed', numbers:
--   window: messages wanted, at most; ttl: time to live in ms, 0: write nothing (a server that refuses writes), -1:
--   keep the session for ever; total, count: the caller holds the newest `count` messages of when `total` had ever
--   been in the list, count 0: nothing; whole 1: the digest is of all of them, joined newest first, 0: of the newest
--   and the oldest; alone 1: refuse while another turn is under way; listed: how long an idle session is (ms)
-- ARGV[2] the digest, sha1   ARGV[3] turn id, '': only a read   ARGV[4] the pending question as JSON
-- ARGV[5] member   ARGV[6] 'summary': the summary is wanted too; else missing
--
-- Reply: {'began now created deleted lost total held', items, pending} or {..., items, pending, summary}
--   began 1: the turn is noted, 0: refused or a read; created and deleted: ms or 0; lost: messages known to be
--   lost; total: messages ever in the list, as far as known; held 1: what the caller holds is right and `items`
--   holds what is newer, 0: `items` is the window; items newest first; pending: {turn id, JSON, ...} of the
--   other turns; summary: 'covers text', see summary.lua. Only the string, if there are no items, no pending
--   and no summary. (A status line is sent and read faster than many values.)
--
-- The time to live is renewed to the second.

local window, ttl, known_total, count, whole, alone, listed =
  string.match(ARGV[1], '(%d+) (-?%d+) (%d+) (%d+) (%d) (%d) (%d+)')
window, ttl, count = tonumber(window), tonumber(ttl), tonumber(count)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local length = redis.call('LLEN', KEYS[1])
local fields = redis.call('HGETALL', KEYS[2])
local meta, pending = {}, {}
for i = 1, #fields, 2 do
  local field = fields[i]
  if string.sub(field, 1, 2) ~= 'p:' then
    meta[field] = fields[i + 1]
  elseif string.sub(field, 3) ~= ARGV[3] then
    pending[#pending + 1] = string.sub(field, 3)
    pending[#pending + 1] = fields[i + 1]
  end
end

local total = length + (meta.dropped or 0)
local newer = total - known_total
local held, items = 0, nil
if count > 0 and newer >= 0 and newer < window then
  local known
  if whole == '1' then
    known = table.concat(redis.call('LRANGE', KEYS[1], newer, newer + count - 1))
  else
    local newest, oldest = redis.call('LINDEX', KEYS[1], newer), redis.call('LINDEX', KEYS[1], newer + count - 1)
    known = newest and oldest and newest .. oldest or ''
  end
  if redis.sha1hex(known) == ARGV[2] then
    held = 1
    items = newer > 0 and redis.call('LRANGE', KEYS[1], 0, newer - 1) or {}
  end
end
if not items then
  items = length > 0 and window > 0 and redis.call('LRANGE', KEYS[1], 0, window - 1) or {}
end

local summary
if ARGV[6] and meta.summary then
  local covers, digest, text = string.match(meta.summary, '^(%d+) (%x+) (.*)$')
  -- The newest message that it covers is looked for where it should be. Turns that were replaced since have left the
  -- list, each message counted as dropped, and what is older than they were is so much nearer to the head.
  local place = total - covers
  for nearer = 0, place >= 0 and math.min(place, 8) or -1 do
    local item = redis.call('LINDEX', KEYS[1], place - nearer)
    if item and redis.sha1hex(item) == digest then
      summary = (covers + nearer) .. ' ' .. text
      break
    end
  end
  if not summary and ttl ~= 0 then
    -- The list was cleared by others, or trimmed faster than it was summarised.
    redis.call('HDEL', KEYS[2], 'summary')
  end
end

local began = 0
if ttl ~= 0 then
  if ARGV[3] ~= '' and not (alone == '1' and #pending > 0) then
    began = 1
    redis.call('HSET', KEYS[2], 'p:' .. ARGV[3], ARGV[4], 'active', now, 'created', meta.created or now)
  elseif meta.created then
    redis.call('HSET', KEYS[2], 'active', now)
  end
  if KEYS[3] and (meta.created or began == 1) then
    redis.call('ZADD', KEYS[3], now, ARGV[5])
    if not meta.created and now % 64 == 0 then
      redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - listed)
    end
  end
  -- The hash has the session's time to live; where there is none, the list has it.
  local key = (#fields > 0 or began == 1) and KEYS[2] or KEYS[1]
  local left = #fields == 0 and began == 1 and -1 or redis.call('PTTL', key)
  if left ~= -2 and left < ttl - 1000 then
    redis.call('PEXPIRE', key, ttl)
    if length > 0 and key == KEYS[2] then
      redis.call('PEXPIRE', KEYS[1], ttl)
    end
  end
end
local numbers = {began, now, meta.created or 0, meta.deleted or 0, meta.lost or 0, total, held}
if summary then
  return {table.concat(numbers, ' '), items, pending, summary}
end
if #items == 0 and #pending == 0 then
  return redis.status_reply(table.concat(numbers, ' '))
end
return {table.concat(numbers, ' '), items, pending}
