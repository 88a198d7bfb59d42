-- All checkpoints of a thread as the server writes them to disk, and the runs that made them.
--
-- KEYS[1...4] see checkpoints.lua
--
-- Reply: {} where there is none, else {hash, order, run, ...}

local fields = redis.call('HKEYS', KEYS[3])
if #fields == 0 then
  return {}
end
local reply, seen = {redis.call('DUMP', KEYS[3]), redis.call('DUMP', KEYS[4])}, {}
for _, field in ipairs(fields) do
  if string.sub(field, 1, 2) == 'h\n' then
    local run = cjson.decode(redis.call('HGET', KEYS[3], field)).r
    if run and run ~= '' and not seen[run] then
      seen[run] = true
      reply[#reply + 1] = run
    end
  end
end
return reply
