-- The waiting room alone, for the lane that decides in a MULTI block.
--
-- KEYS  gate, queue      ARGV  run_id, buyer, time on the ticket
-- Answers as admit.lua does where it is not the buyer's turn yet, else false.
local gate = redis.call('HMGET', KEYS[1], 'run', 'rate', 'slot')
if gate[1] ~= ARGV[1] or gate[2] == '' then
  return false
end
local turn = turn_of(KEYS[1], KEYS[2], ARGV[2], ARGV[3], tonumber(gate[2]), gate[3])
if turn then
  return {ANSWER_QUEUED, turn[1], turn[2], turn[3]}
end
return false
