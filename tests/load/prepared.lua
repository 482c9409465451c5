-- Sends requests that were written beforehand, a request a line: method, path, body, headers, tab-separated.
--
-- Arguments besides those of shoppers.lua:
--   requests   the file
--   once       1: each request once, in order, every thread its share; otherwise at random, again and again

dofile("tests/load/shoppers.lua")

local requests, following = {}, 1

function init(args)
  read_arguments(args)
  for _, row in ipairs(read_rows(arguments.requests)) do
    local body = row[3] ~= "" and row[3] or nil
    requests[#requests + 1] = wrk.format(row[1], row[2], read_headers(row, 4), body)
  end
  if arguments.once == "1" then
    following = thread_number
    allowance = math.floor((#requests - thread_number) / thread_count) + 1
  end
end

function request()
  if arguments.once ~= "1" then return requests[math.random(#requests)] end
  if is_rehearsal() then return requests[thread_number] end
  local text = requests[following]
  following = math.min(following + thread_count, #requests)
  return text
end
