-- Add events of a running turn to its stream. A retry after a lost reply adds nothing twice.
--
-- KEYS[1] stream   ARGV[1] time to live in ms   ARGV[2...] number of the event, event, number, event, ...
--
-- Reply: 1.

if ARGV[2] == '1' then
  redis.call('DEL', KEYS[1]) -- the turn is asked again: its events begin anew
end
for i = 2, #ARGV, 2 do
  redis.pcall('XADD', KEYS[1], ARGV[i] .. '-0', 'e', ARGV[i + 1]) -- refused if the number is there already
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
