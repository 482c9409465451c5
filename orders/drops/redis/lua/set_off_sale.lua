-- Say of a gate's options which are off sale, where there is a gate.
--
-- KEYS  gate      ARGV  field and 1 or 0, of each option
if redis.call('EXISTS', KEYS[1]) == 1 then
  for i = 1, #ARGV, 2 do
    if ARGV[i + 1] == '1' then
      redis.call('HSET', KEYS[1], ARGV[i], '1')
    else
      redis.call('HDEL', KEYS[1], ARGV[i])
    end
  end
end
