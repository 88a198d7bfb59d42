-- uses checkpoints.lua
-- The messages of a thread's newest checkpoint: one round trip. Nothing is renewed.
--
-- KEYS[1] list of messages   ARGV[1] channel   ARGV[2] 1: with the messages, 0: only how many
--
-- Reply: {checkpoints, id, list, number, message, ...}; id and list are '' where there are none. A damaged header is as
-- one without the channel, so that one thread does not end a list of many.

local id = newest('')
local versions = id and parse_header(redis.call('HGET', checkpoints, 'h\n\n' .. id)) or {}
local version = versions[ARGV[1]]
local field = 'b\n\n' .. ARGV[1] .. '\n' .. tostring(version)
local value = version and redis.call('HGET', checkpoints, field) or ''
local _, numbers = listed(value)
local reply = {count_checkpoints(), id or '', numbers and value or ''}
if ARGV[2] == '1' then
  for first, last in string.gmatch(numbers or '', '(%d+)-?(%d*)') do
    for number = tonumber(first), tonumber(last) or tonumber(first) do
      local name = string.format('%d', number)
      reply[#reply + 1], reply[#reply + 2] = name, redis.call('HGET', checkpoints, 'i\n' .. name) or ''
    end
  end
end
return reply
