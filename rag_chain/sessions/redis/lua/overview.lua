-- The state of several sessions without their messages, and without renewing them: one round trip.
--
-- KEYS: of each session its list of messages, then the hash beside it; in a cluster those of one session only
--
-- Reply: {created, active, data, length, ttl, checkpoints} of each session, one after the other
--   times in ms, '' if there is none; ttl: ms left, -1 for ever, -2 no session; checkpoints: how many.

local reply = {}
for i = 1, #KEYS, 2 do
  local meta = redis.call('HMGET', KEYS[i + 1], 'created', 'active', 'data')
  local ttl = redis.call('PTTL', KEYS[i])
  if ttl == -2 and meta[1] then
    ttl = redis.call('PTTL', KEYS[i + 1])
  end
  reply[#reply + 1] = meta[1] or ''
  reply[#reply + 1] = meta[2] or ''
  reply[#reply + 1] = meta[3] or ''
  reply[#reply + 1] = redis.call('LLEN', KEYS[i])
  reply[#reply + 1] = ttl
  reply[#reply + 1] = tonumber(redis.pcall('ZLEXCOUNT', KEYS[i + 1] .. ':order', '[a\n', '(a\n\255')) or 0
end
return reply
