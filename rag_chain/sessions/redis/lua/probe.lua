-- Whether the server takes writes: sets a key that expires at once, which fails where it is read-only or out of memory.
--
-- KEYS[1] a key of the prefix

return redis.call('SET', KEYS[1], '1', 'PX', 1)
