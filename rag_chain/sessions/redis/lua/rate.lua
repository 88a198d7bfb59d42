-- Count a request, and say whether it is one too many: one round trip.
--
-- KEYS[1] counter, which exists for one period   ARGV[1] requests in a period   ARGV[2] its length (ms)
--
-- Reply: 0; else how long the period still lasts (ms).

local count = redis.call('INCRBY', KEYS[1], 1)
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  left = tonumber(ARGV[2])
end
return count > tonumber(ARGV[1]) and math.max(left, 1) or 0
