-- Read a session and, when a turn begins, store its question as pending: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- KEYS[4] the user's index (not in a cluster)
-- ARGV[1] 'window ttl total count whole alone listed', numbers:
--   window: messages wanted, at most
--   ttl: time to live in ms; -1: keep the session for ever; 0: write nothing (the server refuses writes)
--   total, count: the caller holds the newest `count` messages of when `total` had ever been in the list; count 0: none
--   whole: 1, the digest is of all of them, joined newest first; 0, of the newest and the oldest
--   alone: 1, refuse while another turn is under way
--   listed: ms after which an idle session leaves the index
-- ARGV[2] the digest, sha1   ARGV[3] turn id, '' for a read   ARGV[4] the pending question as JSON
-- ARGV[5] member of the index   ARGV[6] 'summary': the summary is wanted too; else '' or missing
-- ARGV[7] 'tokens micros': no turn begins in a session that used so many tokens, or of a user who spent so many millionths
--   of a dollar today (not in a cluster); 0: no limit. Missing where there are no limits.
--
-- Reply: {numbers, items, pending} or {numbers, items, pending, summary}; only the numbers, as a status line, where
-- there are no items, no pending questions and no summary (a status line is sent and parsed faster).
--   numbers 'began now created deletion lost total held life dropped', with limits and 'tokens micros' that are spent:
--     began: 1, the question is stored; 0, refused or a read
--     now: the session's time in ms, which never runs backwards   created, deletion: ms or 0
--     lost: messages known to be lost   total: messages ever in the list
--     held: 1, what the caller holds is right, and `items` has what is newer; 0, `items` is the window
--     life: what the store calls this life of the session, 0: none. It changes when the store may have lost messages:
--       the session is gone without a deletion, the server was started again, or it has evicted the list.
--   items: newest first   pending: {turn id, JSON, ...} of the other turns   summary: 'covers text', see summary.lua
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
local deletion = tonumber(redis.call('GET', KEYS[3]) or meta.deleted or 0)
now = math.max(now, tonumber(meta.active or 0))

-- A section of INFO, '' where the user may not read it or the server has none.
local function info(section)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and text or ''
end
local function has_evicted()
  local evicted = string.match(info('stats'), 'evicted_keys:(%d+)')
  return evicted and tonumber(evicted) > 0
end

-- Found by a plain search: matching a pattern against the whole text takes as long as making it.
local server = info('server')
local _, run_at = string.find(server, 'run_id:', 1, true)
local run = run_at and string.match(string.sub(server, run_at + 1, run_at + 12), '^%x+$') or ''
local life = tonumber(meta.life or meta.created or 0)
local dropped, lost = tonumber(meta.dropped or 0), tonumber(meta.lost or 0)
local changes = {}
if meta.created and meta.run and run ~= '' and meta.run ~= run then
  -- Started again, perhaps from an older copy of its data: all that is here is from before.
  life = now
  changes = {'life', life, 'restored', length + dropped}
end
if meta.created and length == 0 and meta.marks then
  -- What was put back and not changed since has no mark.
  local after = tonumber(string.match(meta.marks, '^%d+:%d+:(%d+)') or meta.restored or 0)
  if after > dropped then
    if has_evicted() then
      life, lost, dropped = now, lost + after - dropped, after
      changes = {'life', life, 'restored', after, 'dropped', after, 'lost', lost}
    elseif ttl ~= 0 then
      redis.call('HDEL', KEYS[2], 'marks') -- another program cleared the list
    end
  end
elseif not meta.created and length == 0 and KEYS[4] and ttl ~= 0 then
  local active = redis.call('ZSCORE', KEYS[4], ARGV[5])
  if active and tonumber(active) > deletion and (ttl < 0 or now - tonumber(active) < ttl) and has_evicted() then
    lost = 1 -- at least
  end
end

local total = length + dropped
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
if ARGV[6] == 'summary' and meta.summary then
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

local began, turn, spent = 0, ARGV[3], ''
if ARGV[7] then
  local max_tokens, max_micros = string.match(ARGV[7], '(%d+) (%d+)')
  max_tokens, max_micros = tonumber(max_tokens), tonumber(max_micros)
  local micros = KEYS[4] and max_micros > 0
    and redis.call('GET', KEYS[4] .. ':spent:' .. math.floor(clock[1] / 86400)) or 0
  local tokens = tonumber(meta.tokens or 0)
  if max_tokens > 0 and tokens >= max_tokens or max_micros > 0 and tonumber(micros) >= max_micros then
    turn = ''
  end
  spent = string.format(' %d %d', tokens, tonumber(micros))
end
if ttl ~= 0 then
  if turn ~= '' and not (alone == '1' and #pending > 0) then
    began = 1
    changes[#changes + 1], changes[#changes + 2] = 'p:' .. ARGV[3], '{"begun":' .. now .. ',' .. string.sub(ARGV[4], 2)
    if not meta.created then
      life = now
      for _, change in ipairs({'created', now, 'life', life}) do
        changes[#changes + 1] = change
      end
      if lost > 0 then
        changes[#changes + 1], changes[#changes + 2] = 'lost', lost
      end
    end
  elseif turn ~= '' then
    -- Whoever ends the other turn wakes those that wait.
    changes[#changes + 1], changes[#changes + 2] = 'queued', now
  end
  if began == 1 or meta.created then
    changes[#changes + 1], changes[#changes + 2] = 'active', now
    if run ~= '' and meta.run ~= run then
      changes[#changes + 1], changes[#changes + 2] = 'run', run
    end
  end
  if #changes > 0 then
    redis.call('HSET', KEYS[2], unpack(changes))
  end
  if KEYS[4] and (meta.created or began == 1) then
    redis.call('ZADD', KEYS[4], now, ARGV[5])
    if not meta.created and now % 64 == 0 then
      -- Twice as many as come between two of these, and not all that there may be: that could take long.
      local over = redis.call('ZCOUNT', KEYS[4], '-inf', now - listed)
      if over > 0 then
        redis.call('ZREMRANGEBYRANK', KEYS[4], 0, math.min(over, 128) - 1)
      end
    end
  end
  -- The hash has the session's time to live; where there is none, the list has it.
  local key = (#fields > 0 or began == 1) and KEYS[2] or KEYS[1]
  local left = #fields == 0 and began == 1 and -1 or redis.call('PTTL', key)
  if left ~= -2 and left < ttl - 1000 then
    redis.call('PEXPIRE', key, ttl)
    for _, name in ipairs({'feedback', 'checkpoints', 'order'}) do
      redis.call('PEXPIRE', KEYS[2] .. ':' .. name, ttl)
    end
    if length > 0 and key == KEYS[2] then
      redis.call('PEXPIRE', KEYS[1], ttl)
    end
  end
end
local numbers = string.format('%d %d %d %d %d %d %d %d %d',
  began, now, meta.created or 0, deletion, lost, total, held, life, dropped) .. spent
if summary then
  return {numbers, items, pending, summary}
end
if #items == 0 and #pending == 0 then
  return redis.status_reply(numbers)
end
return {numbers, items, pending}
