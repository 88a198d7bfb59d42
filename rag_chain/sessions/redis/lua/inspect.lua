-- A session's state and some of its messages: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] mark of the last deletion
-- KEYS[4] ids of turns that were taken back   KEYS[5] the user's index (not in a cluster)
-- ARGV[1] first position, ARGV[2] last position in the list, as for LRANGE; 1 and 0: none
-- ARGV[3] member   ARGV[4] time to live in ms to renew the session with, -1: for ever, 0: do not renew it
--
-- Reply: {created, active, deletion, lost, data, length, dropped, ttl, listed, waiting, items, life, restored,
--   taken_back, erased, checkpoints}
--   times in ms, '' where there is none; ttl: ms left, -1 for ever, -2 no session; listed: score in the index or
--   ''; waiting: questions under way; items newest first; life as in begin.lua; restored: total messages when the
--   store last lost the session; taken_back: how many turns were; erased: their ids, where all messages are asked for;
--   checkpoints: of the thread of the same id.
--
-- A server that refuses writes still answers: the time to live is then not renewed.

local meta = redis.call('HMGET', KEYS[2], 'created', 'active', 'deleted', 'lost', 'data', 'dropped', 'life', 'restored')
local waiting = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.sub(field, 1, 2) == 'p:' then
    waiting = waiting + 1
  end
end
local length, renewed = redis.call('LLEN', KEYS[1]), tonumber(ARGV[4])
if renewed > 0 and (meta[1] or length > 0) then
  for i = 1, 2 do
    local left = redis.call('PTTL', KEYS[i])
    if left ~= -2 and left < renewed - 1000 then
      redis.pcall('PEXPIRE', KEYS[i], renewed)
      for _, name in ipairs({'feedback', 'checkpoints', 'order'}) do
        redis.pcall('PEXPIRE', KEYS[2] .. ':' .. name, renewed)
      end
    end
  end
end
local ttl = redis.call('PTTL', KEYS[1])
if ttl == -2 and meta[1] then
  ttl = redis.call('PTTL', KEYS[2])
end
return {
  meta[1] or '', meta[2] or '', redis.call('GET', KEYS[3]) or meta[3] or '', meta[4] or '', meta[5] or '',
  length, tonumber(meta[6] or 0), ttl,
  KEYS[5] and redis.call('ZSCORE', KEYS[5], ARGV[3]) or '', waiting,
  redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2]),
  meta[7] or meta[1] or '', meta[8] or '',
  redis.call('ZCARD', KEYS[4]), ARGV[2] == '-1' and redis.call('ZRANGE', KEYS[4], 0, -1) or {},
  tonumber(redis.pcall('ZLEXCOUNT', KEYS[2] .. ':order', '[a\n', '(a\n\255')) or 0,
}
