-- Write a drop's gate anew, as one step, if nobody else began to meanwhile.
--
-- KEYS  gate, rebuilding, released      ARGV  token, then the gate's fields and values
-- Answers 1, or 0 where the token is no longer the one that was left.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
local slot = redis.call('HGET', KEYS[1], 'slot')
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
if slot then
  redis.call('HSET', KEYS[1], 'slot', slot)
end
return 1
