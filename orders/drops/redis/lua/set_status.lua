-- Set the gate's status, where there is a gate and its status is one of those it may follow.
--
-- KEYS  gate      ARGV  new status, then the statuses that it may follow
local status = redis.call('HGET', KEYS[1], 'status')
for i = 2, #ARGV do
  if status == ARGV[i] then
    redis.call('HSET', KEYS[1], 'status', ARGV[1])
  end
end
