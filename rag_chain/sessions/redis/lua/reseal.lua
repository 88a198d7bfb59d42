-- Put the same messages in other bytes: one round trip. A message that was changed, trimmed or moved meanwhile stays.
--
-- KEYS[1] list of messages, newest first   KEYS[2] hash beside it
-- ARGV[1] sha1 of the summary's text, ARGV[2] that text in other bytes; both '': it stays
-- ARGV[3...] place from the oldest (0), sha1 of the message there, the message in other bytes, ...
--
-- Reply: {how many messages were put, the summary's text or ''}

local put = 0
local summary = redis.call('HGET', KEYS[2], 'summary')
local covers, digest, text
if summary then
  covers, digest, text = string.match(summary, '^(%d+) (%x+) (.*)$')
end
local changed = false
for i = 3, #ARGV, 3 do
  local place = -1 - ARGV[i]
  local item = redis.call('LINDEX', KEYS[1], place)
  if item and redis.sha1hex(item) == ARGV[i + 1] then
    redis.call('LSET', KEYS[1], place, ARGV[i + 2])
    put = put + 1
    if digest == ARGV[i + 1] then
      digest, changed = redis.sha1hex(ARGV[i + 2]), true -- the summary names the newest message that it covers
    end
  end
end
if text and ARGV[1] ~= '' and redis.sha1hex(text) == ARGV[1] then
  text, changed = ARGV[2], true
end
if changed then
  redis.call('HSET', KEYS[2], 'summary', covers .. ' ' .. digest .. ' ' .. text)
end
return {put, text or ''}
