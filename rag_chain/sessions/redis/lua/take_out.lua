-- Functions with which erase.lua and commit.lua begin: messages leave the list, and the ids of their turns are kept, so
-- that none of them comes back from a journal or with a repeated call.
--
-- A message that is taken out counts as dropped. So the total of messages stays, and the positions of older messages
-- grow by as many as left: those in `marks` (commit.lua), `restored` (begin.lua) and `summary` (summary.lua) follow.

-- The turn of a message; nil if it is none of a turn.
local function turn_of(item)
  local quoted = string.match(item, '"rag_chain":{"turn_id":("[^"]*")')
  if quoted and string.find(quoted, '\\', 1, true) then
    local known, value = pcall(cjson.decode, item)
    return known and value.data.additional_kwargs.rag_chain.turn_id or nil
  end
  return quoted and string.sub(quoted, 2, -2)
end

-- The places of a turn's newest and oldest message in the list, counted from 0, the newest; nil if it is not there.
local function find_turn(list, turn)
  local place, length, newest, oldest = 0, redis.call('LLEN', list), nil, nil
  -- A plain search takes a tenth of the time of a pattern.
  local mark = '"rag_chain":{"turn_id":' .. cjson.encode(turn)
  while place < length and (not oldest or oldest == place - 1) do
    for at, item in ipairs(redis.call('LRANGE', list, place, place + 99)) do
      if string.find(item, mark, 1, true) then
        newest, oldest = newest or place + at - 1, place + at - 1
      end
    end
    place = place + 100
  end
  return newest, oldest
end

-- Take out the messages from place `newest` to place `oldest`, and keep their turns' ids for `kept` ms. How many left.
local function take_out(list, hash, erased, newest, oldest, kept)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  local length, count = redis.call('LLEN', list), oldest - newest + 1
  for _, item in ipairs(redis.call('LRANGE', list, newest, oldest)) do
    local turn = turn_of(item)
    if turn then
      redis.call('ZADD', erased, now, turn)
      redis.call('HDEL', hash .. ':feedback', turn)
    end
  end
  redis.call('ZREMRANGEBYSCORE', erased, '-inf', now - kept)
  redis.call('PEXPIRE', erased, kept)
  if newest == 0 then
    redis.call('LTRIM', list, count, -1)
  else
    for place = newest, oldest do
      redis.call('LSET', list, place, 'rag_chain: taken out')
    end
    redis.call('LREM', list, count, 'rag_chain: taken out')
  end
  local meta = redis.call('HMGET', hash, 'created', 'dropped', 'marks', 'restored', 'summary')
  if not meta[1] then
    return count -- a list of another program, without positions
  end
  -- Positions of the first message that left and of the one after the last.
  local stop = length + tonumber(meta[2] or 0) - newest
  local start = stop - count
  local function moved(boundary)
    return boundary + math.max(0, math.min(count, stop - boundary))
  end
  local changes = {'dropped', tonumber(meta[2] or 0) + count}
  if meta[3] then
    local marks = {}
    for ms, first, last in string.gmatch(meta[3], '(%d+):(%d+):(%d+)') do
      first, last = moved(tonumber(first)), moved(tonumber(last))
      if first < last then
        marks[#marks + 1] = string.format('%s:%d:%d', ms, first, last)
      end
    end
    changes[#changes + 1], changes[#changes + 2] = 'marks', table.concat(marks, ' ')
  end
  if meta[4] then
    changes[#changes + 1], changes[#changes + 2] = 'restored', moved(tonumber(meta[4]))
  end
  if meta[5] then
    local covers, rest = string.match(meta[5], '^(%d+)(.*)$')
    if tonumber(covers) <= start then
      changes[#changes + 1], changes[#changes + 2] = 'summary', moved(tonumber(covers)) .. rest
    else
      redis.call('HDEL', hash, 'summary') -- it says what was in them
    end
  end
  redis.call('HSET', hash, unpack(changes))
  return count
end

