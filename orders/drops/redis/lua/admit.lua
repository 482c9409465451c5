-- Admit one order against a drop's escrow: check everything first, write last.
--
-- KEYS  gate, customers, keys, orders, stream, queue (orders/drops/redis/keys.py)
-- ARGV  run_id of the server that was asked, epoch that the caller knows, order number, buyer,
--       idempotency key ('' for none), fingerprint, the stream's entry, units in all, time on the ticket,
--       then option and units of each line
--
-- Answers a table: the answer, and what is said besides (Answer, orders/drops/redis/answers.py).
local gate = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'status', 'opens', 'closes', 'limit', 'rate', 'slot')
if gate[1] ~= ARGV[1] then
  return {ANSWER_LOST}
end
if gate[2] ~= ARGV[2] then
  return {ANSWER_EPOCH, gate[2]}
end
local number, buyer, key, units = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[8])
if key ~= '' then
  local seen = redis.call('HGET', KEYS[3], buyer .. ':' .. key)
  if seen then
    local space = string.find(seen, ' ', 1, true)
    if string.sub(seen, space + 1) == ARGV[6] then
      return {ANSWER_REPLAYED, string.sub(seen, 1, space - 1)}
    end
    return {ANSWER_REUSED}
  end
end
if redis.call('HEXISTS', KEYS[4], number) == 1 then
  return {ANSWER_ACCEPTED}
end
if gate[3] ~= GATE_OPEN then
  return {ANSWER_CLOSED}
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if now < tonumber(gate[4]) or (gate[5] ~= '' and now >= tonumber(gate[5])) then
  return {ANSWER_CLOSED}
end

local bought = tonumber(redis.call('HGET', KEYS[2], buyer) or 0)
if bought + units > tonumber(gate[6]) then
  return {ANSWER_LIMIT, bought}
end
local short = {ANSWER_SHORT}
for i = 10, #ARGV, 2 do
  local found = redis.call('HMGET', KEYS[1], 'left:' .. ARGV[i], 'off:' .. ARGV[i])
  local left = found[1]
  if not left then
    return {ANSWER_LOST}
  end
  if found[2] then
    left = '0'
  end
  if tonumber(left) < tonumber(ARGV[i + 1]) then
    short[#short + 1] = ARGV[i]
    short[#short + 1] = left
  end
end
if #short > 1 then
  return short
end
if gate[7] ~= '' then
  local turn = turn_of(KEYS[1], KEYS[6], buyer, ARGV[9], tonumber(gate[7]), gate[8])
  if turn then
    return {ANSWER_QUEUED, turn[1], turn[2], turn[3]}
  end
end

for i = 10, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], 'left:' .. ARGV[i], -tonumber(ARGV[i + 1]))
end
redis.call('HINCRBY', KEYS[2], buyer, units)
if key ~= '' then
  redis.call('HSET', KEYS[3], buyer .. ':' .. key, number .. ' ' .. ARGV[6])
end
redis.call('HSET', KEYS[4], number, ARGV[7])
redis.call('XADD', KEYS[5], '*', 'o', ARGV[7])
return {ANSWER_ACCEPTED}
