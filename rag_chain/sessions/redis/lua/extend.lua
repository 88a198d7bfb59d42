-- Give a session a new time to live, which later reads and writes renew but do not shorten.
--
-- KEYS[1] list of messages   KEYS[2] hash beside it   ARGV[1] time to live in ms
--
-- The checkpoints of the thread and the feedback have names that follow from KEYS[2], and its slot.
--
-- Reply: 1 if there is such a session, else 0.

if redis.call('EXISTS', KEYS[1]) == 0 and redis.call('HEXISTS', KEYS[2], 'created') == 0 then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
redis.call('PEXPIRE', KEYS[2] .. ':checkpoints', ARGV[1])
redis.call('PEXPIRE', KEYS[2] .. ':order', ARGV[1])
redis.call('PEXPIRE', KEYS[2] .. ':feedback', ARGV[1])
return 1
