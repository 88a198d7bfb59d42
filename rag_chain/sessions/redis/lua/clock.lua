-- The server's time in ms.
--
-- KEYS[1] a key of the session: in a cluster each node has a clock of its own

local clock = redis.call('TIME')
return clock[1] * 1000 + math.floor(clock[2] / 1000)
