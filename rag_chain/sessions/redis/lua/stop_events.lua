-- Ask the server that answers a turn to stop: it finds out when it next adds events.
--
-- KEYS[1] stream of the turn's events   ARGV[1] how long the request stands (ms)
--
-- Reply: 1; 0: there are no events of the turn.

if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('SET', KEYS[1] .. ':stop', '1', 'PX', ARGV[1])
return 1
