-- Keep a summary of a session's oldest messages beside it, unless there is one that covers as many: one round trip.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it   KEYS[3] ids of turns that were taken back
-- ARGV[1] messages that it covers, of all that were ever in the list   ARGV[2] sha1 of the newest of them
-- ARGV[3] the summary   ARGV[4] how long ago the messages were read (ms)
--
-- Reply: 1 if it was kept, 0 if not: the session or that message is gone, the other summary covers as many, or a
-- turn was taken back since the messages were read, which may be one of those that it tells of.
--
-- It goes with the hash, when the session is cleared, deleted or expires, and is not shown any more when the message
-- that it ends with is gone: begin.lua looks.

local meta = redis.call('HMGET', KEYS[2], 'created', 'dropped', 'summary')
local covers = tonumber(ARGV[1])
local place = redis.call('LLEN', KEYS[1]) + (meta[2] or 0) - covers
local last = meta[1] and place >= 0 and redis.call('LINDEX', KEYS[1], place)
if not last or redis.sha1hex(last) ~= ARGV[2] then
  return 0
end
local clock = redis.call('TIME')
local latest = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
if latest and tonumber(latest) >= clock[1] * 1000 + math.floor(clock[2] / 1000) - tonumber(ARGV[4]) then
  return 0
end
if meta[3] and tonumber(string.match(meta[3], '^%d+')) >= covers then
  return 0
end
redis.call('HSET', KEYS[2], 'summary', ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3])
return 1
