-- Put back what a process still holds of a session that the server has lost: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it
-- ARGV[1] sha1 of the whole list joined newest first, as the caller read it
-- ARGV[2] when the session was created (ms)   ARGV[3] messages that stay lost
-- ARGV[4] messages that are no longer in the list, those that stay lost among them
-- ARGV[5] messages ever in the list when the server lost it   ARGV[6] by how much the positions of newer ones grow
-- ARGV[7] time to live in ms, -1: for ever   ARGV[8...] the whole list as it is to be, oldest first
--
-- Reply: the life of the session (begin.lua), or 0 if the list has changed since it was read.

if redis.sha1hex(table.concat(redis.call('LRANGE', KEYS[1], 0, -1))) ~= ARGV[1] then
  return 0
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('DEL', KEYS[1])
for i = 8, #ARGV do
  redis.call('LPUSH', KEYS[1], ARGV[i])
end
local meta = redis.call('HMGET', KEYS[2], 'created', 'life', 'marks', 'active')
local marks = string.gsub(meta[3] or '', '(%d+):(%d+):(%d+)', function(ms, start, stop)
  return string.format('%s:%d:%d', ms, start + ARGV[6], stop + ARGV[6])
end)
local life = tonumber(meta[2] or meta[1] or now)
redis.call('HSET', KEYS[2], 'created', ARGV[2], 'life', string.format('%d', life), 'active', meta[4] or now,
  'lost', ARGV[3], 'dropped', ARGV[4], 'restored', ARGV[5], 'marks', marks)
local ttl = tonumber(ARGV[7])
for i = 1, 2 do
  local left = redis.call('PTTL', KEYS[i])
  if left ~= -2 and left < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
  end
end
return life
