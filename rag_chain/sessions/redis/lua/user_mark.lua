-- The mark of the last time when all sessions of a user were erased: a replay of what is older is dropped.
--
-- KEYS[1] the mark
-- ARGV[1] '': read it; now: set it; a number: when it was asked for, by this server (ms), if that was earlier
-- ARGV[2] how long it stays (ms)
--
-- Reply: the mark (ms), 0 if there is none.

local mark = tonumber(redis.call('GET', KEYS[1]) or 0)
if ARGV[1] ~= '' then
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  mark = math.max(mark, ARGV[1] == 'now' and now or math.min(now, tonumber(ARGV[1])))
  redis.call('SET', KEYS[1], string.format('%d', mark), 'PX', ARGV[2])
end
return mark
