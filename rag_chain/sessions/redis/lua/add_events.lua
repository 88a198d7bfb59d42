-- Add events of a running turn to its stream. A retry after a lost reply adds nothing twice.
--
-- KEYS[1] stream   ARGV[1] time to live in ms   ARGV[2...] number of the event, event, number, event, ...
--
-- The turns that have a stream are a set, by which a deletion finds them; its name is that of the stream without the turn.
--
-- Reply: 1; 2: the turn is to be stopped (stop_events.lua).

if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1], KEYS[1] .. ':stop') -- the turn is asked again: its events begin anew
end
for i = 2, #ARGV, 2 do
  redis.pcall('XADD', KEYS[1], ARGV[i] .. '-0', 'e', ARGV[i + 1]) -- refused if the number is there already
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local names, turn = string.match(KEYS[1], '^([^}]*}:events):(.*)$')
redis.call('SADD', names, turn)
if redis.call('PTTL', names) < tonumber(ARGV[1]) then
  redis.call('PEXPIRE', names, ARGV[1])
end
return redis.call('EXISTS', KEYS[1] .. ':stop') + 1
