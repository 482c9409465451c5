-- Units and a customer's limit come back to an open drop, once however often it is said.
--
-- KEYS  gate, customers, keys, orders, released
-- ARGV  epoch, release id, buyer, number, idempotency key to forget ('' for none),
--       1 if the order must be one that is waiting here, then option and units of each line
-- Answers a GiveBack (orders/drops/redis/answers.py).
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return GIVE_BACK_EPOCH
end
if redis.call('SISMEMBER', KEYS[5], ARGV[2]) == 1 then
  return GIVE_BACK_AGAIN
end
if ARGV[6] == '1' and redis.call('HEXISTS', KEYS[4], ARGV[4]) == 0 then
  return GIVE_BACK_UNKNOWN
end
redis.call('SADD', KEYS[5], ARGV[2])
local units = 0
for i = 7, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], 'left:' .. ARGV[i], ARGV[i + 1])
  units = units + tonumber(ARGV[i + 1])
end
if redis.call('HINCRBY', KEYS[2], ARGV[3], -units) <= 0 then
  redis.call('HDEL', KEYS[2], ARGV[3])
end
if ARGV[5] ~= '' then
  redis.call('HDEL', KEYS[3], ARGV[3] .. ':' .. ARGV[5])
end
if ARGV[6] == '1' then
  redis.call('HDEL', KEYS[4], ARGV[4])
end
return GIVE_BACK_DONE
