-- uses checkpoints.lua
-- A page of a thread's checkpoints, the newest first.
--
-- KEYS[1] list of messages
-- ARGV[1] '1 namespace': of this one; '0': of all   ARGV[2] the id that is too new, '': none
-- ARGV[3] the last member seen, '': from the start   ARGV[4] members wanted, at most   ARGV[5] time to live in ms
--
-- Reply: {last member, namespace, id, metadata, ...}, {} at the end.

local start, of_one = 'a\n', string.sub(ARGV[1], 1, 1) == '1'
if of_one then
  start = 'c\n' .. string.sub(ARGV[1], 2) .. '\n'
end
local last = start .. '\255'
if ARGV[3] ~= '' then
  last = ARGV[3]
elseif ARGV[2] ~= '' then
  last = start .. ARGV[2]
end
local page = {}
local found = redis.call('ZREVRANGEBYLEX', order, '(' .. last, '[' .. start, 'LIMIT', 0, ARGV[4])
for i, member in ipairs(found) do
  local ns, id = string.sub(start, 3, -2), string.sub(member, #start + 1)
  if not of_one then
    ns, id = split(member)
  end
  page[1] = member
  page[#page + 1], page[#page + 2], page[#page + 3] = ns, id, redis.call('HGET', checkpoints, 'm\n' .. ns .. '\n' .. id) or ''
end
renew(tonumber(ARGV[5]))
return page
