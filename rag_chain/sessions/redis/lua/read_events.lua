-- Read the events of a turn after one of them, 500 at most.
--
-- KEYS[1] stream   ARGV[1] number of the last event that is known, 0: none
--
-- Reply: the newest event, if there is a stream, then the events in order.

local reply = {}
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)) do
  reply[1] = entry[2][2]
end
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[1] .. '-0', '+', 'COUNT', 500)) do
  reply[#reply + 1] = entry[2][2]
end
return reply
