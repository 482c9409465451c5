-- When is it this buyer's turn? Shared by admit.lua and queue.lua, put in front of them.
--
-- Everybody who comes gets the next time in a row of times that are 1/rate apart; a second in which fewer
-- came is kept for later. A place is good for GRACE ms from its time, for as many attempts as it takes. A
-- ticket's time puts a buyer back whom a Redis that forgot no longer knows.
--
-- Answers nil where the buyer may pass, else {time of the place in ms, place, ms to wait}.
local GRACE = 60000

local function turn_of(gate, queue, buyer, ticket, rate, last)
  local clock = redis.call('TIME')
  local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
  last = tonumber(last or '') or 0
  local slot = tonumber(redis.call('ZSCORE', queue, buyer) or '')
  if slot and slot < now - GRACE then
    slot = nil
  end
  if not slot then
    slot = tonumber(ticket)
    if not slot or slot < now - GRACE then
      slot = math.max(last, now - 1000) + 1000 / rate
    end
    redis.call('ZREMRANGEBYSCORE', queue, '-inf', string.format('(%.3f', now - GRACE))
    redis.call('ZADD', queue, string.format('%.3f', slot), buyer)
    redis.call('HSET', gate, 'slot', string.format('%.3f', math.max(last, slot)))
  end
  if slot <= now then
    return nil
  end
  local place = redis.call('ZCOUNT', queue, string.format('(%.3f', now), string.format('%.3f', slot))
  return {string.format('%.3f', slot), place, math.ceil(slot - now)}
end
