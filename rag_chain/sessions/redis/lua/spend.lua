-- Count what a user spends today, where that is in another slot than the session: a cluster.
--
-- KEYS[1] the user's index, from which the name of the counter is made
-- ARGV[1] millionths of a dollar to add, 0: only read
--
-- Reply: millionths of a dollar that were spent today.

local day = math.floor(redis.call('TIME')[1] / 86400)
local spent = KEYS[1] .. ':spent:' .. day
if ARGV[1] == '0' then
  return tonumber(redis.call('GET', spent) or 0)
end
local sum = redis.call('INCRBY', spent, ARGV[1])
redis.call('PEXPIRE', spent, 172800000)
return sum
