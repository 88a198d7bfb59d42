-- A page of a user's index of sessions, the most recently active first.
--
-- KEYS[1] the index   ARGV[1] score and ARGV[2] member of the last one seen, '' and '': from the start
-- ARGV[3] members wanted, at most   ARGV[4] how long an idle session stays listed (ms)
--
-- Reply: {member, score, member, score, ...}
--
-- Equal scores are ordered by member, descending, so a page may start between two of them.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local floor = '(' .. (now - tonumber(ARGV[4]))
local wanted, page, offset = tonumber(ARGV[3]), {}, 0
while #page < 2 * wanted do
  local found = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1] == '' and '+inf' or ARGV[1], floor,
    'WITHSCORES', 'LIMIT', offset, wanted)
  if #found == 0 then
    break
  end
  offset = offset + wanted
  for i = 1, #found, 2 do
    local seen = ARGV[1] ~= '' and tonumber(found[i + 1]) == tonumber(ARGV[1]) and found[i] >= ARGV[2]
    if not seen and #page < 2 * wanted then
      page[#page + 1] = found[i]
      page[#page + 1] = found[i + 1]
    end
  end
end
return page
