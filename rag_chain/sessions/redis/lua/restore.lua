-- Put back what a process still holds of a session that the server has lost: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it
-- ARGV[1] sha1 of the whole list joined newest first, as the caller read it
-- ARGV[2] when the session was created (ms)   ARGV[3] messages that stay lost   ARGV[4] time to live in ms
-- ARGV[5...] the whole list as it is to be, oldest first
--
-- Reply: 1, or 0 if the list has changed since it was read.

if redis.sha1hex(table.concat(redis.call('LRANGE', KEYS[1], 0, -1))) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
for i = 5, #ARGV do
  redis.call('LPUSH', KEYS[1], ARGV[i])
end
redis.call('HSET', KEYS[2], 'created', ARGV[2], 'dropped', ARGV[3])
if ARGV[3] ~= '0' then
  redis.call('HSET', KEYS[2], 'lost', ARGV[3])
end
local ttl = tonumber(ARGV[4])
for i = 1, 2 do
  if redis.call('PTTL', KEYS[i]) < ttl then
    redis.call('PEXPIRE', KEYS[i], ttl)
  end
end
return 1
