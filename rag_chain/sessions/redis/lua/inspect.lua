-- A session's state and some of its messages, without writing: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] the user's index (not in a cluster)
-- ARGV[1] first position, ARGV[2] last position in the list, as for LRANGE; 1 and 0: none
-- ARGV[3] member
--
-- Reply: {created, active, deleted, lost, data, length, dropped, ttl, listed, waiting, items}
--   times in ms, '' where there is none; ttl: ms left, -1 for ever, -2 no session; listed: score in the index or
--   ''; waiting: questions under way; items newest first.

local meta = redis.call('HMGET', KEYS[2], 'created', 'active', 'deleted', 'lost', 'data', 'dropped')
local waiting = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if string.sub(field, 1, 2) == 'p:' then
    waiting = waiting + 1
  end
end
local ttl = redis.call('PTTL', KEYS[1])
if ttl == -2 and meta[1] then
  ttl = redis.call('PTTL', KEYS[2])
end
return {
  meta[1] or '', meta[2] or '', meta[3] or '', meta[4] or '', meta[5] or '',
  redis.call('LLEN', KEYS[1]), tonumber(meta[6] or 0), ttl,
  KEYS[3] and redis.call('ZSCORE', KEYS[3], ARGV[3]) or '', waiting,
  redis.call('LRANGE', KEYS[1], ARGV[1], ARGV[2]),
}
