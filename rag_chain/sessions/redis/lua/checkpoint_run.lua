-- The threads that a run has checkpoints in.
--
-- KEYS[1] a set   ARGV[1] add, list or forget   ARGV[2] how long it is kept (ms)   ARGV[3...] threads to add or forget
--
-- Reply: the threads for list, else 1.

if ARGV[1] == 'list' then
  return redis.call('SMEMBERS', KEYS[1])
elseif #ARGV > 2 then
  redis.call(ARGV[1] == 'add' and 'SADD' or 'SREM', KEYS[1], unpack(ARGV, 3))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
