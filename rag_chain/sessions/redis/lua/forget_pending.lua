-- Remove the pending question of a turn that could not begin: one round trip.
--
-- KEYS[1] list of messages (not used)   KEYS[2] hash beside it   KEYS[3] what waiting turns wait on
-- ARGV[1] turn id
--
-- Reply: 1, it was there.

local gone = redis.call('HDEL', KEYS[2], 'p:' .. ARGV[1])
if gone == 1 and redis.call('HEXISTS', KEYS[2], 'queued') == 1 then
  redis.call('DEL', KEYS[3])
  redis.call('LPUSH', KEYS[3], '1')
  redis.call('PEXPIRE', KEYS[3], 5000)
end
return gone
