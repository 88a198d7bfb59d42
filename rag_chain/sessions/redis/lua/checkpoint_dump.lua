-- uses checkpoints.lua
-- All checkpoints of a thread as the server writes them to disk, and the runs that made them.
--
-- KEYS[1] list of messages   ARGV[1] time to live in ms
--
-- Reply: {} where there is none, else {hash, order, run, ...}

local fields = redis.call('HKEYS', checkpoints)
if #fields == 0 then
  return {}
end
local reply, seen = {redis.call('DUMP', checkpoints), redis.call('DUMP', order)}, {}
for _, field in ipairs(fields) do
  if string.sub(field, 1, 2) == 'h\n' then
    local _, run = parse_header(redis.call('HGET', checkpoints, field))
    if type(run) == 'string' and run ~= '' and not seen[run] then
      seen[run] = true
      reply[#reply + 1] = run
    end
  end
end
renew(tonumber(ARGV[1]))
return reply
