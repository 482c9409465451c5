-- Shoppers, picked at random, order options, picked at random. Every order has an Idempotency-Key of its own.
--
-- Arguments besides those of shoppers.lua:
--   shoppers   file: a shopper a line, the headers that sign him in, separated by tabs
--   options    option ids, separated by commas
--   lines      how many of the options an order takes, one unit each
--   drop       optional: the drop that they are bought from

dofile("tests/load/shoppers.lua")

local shoppers, options, lines, sent = {}, {}, 1, 0

function init(args)
  read_arguments(args)
  for i, row in ipairs(read_rows(arguments.shoppers)) do shoppers[i] = read_headers(row, 1) end
  for id in arguments.options:gmatch("%d+") do options[#options + 1] = id end
  lines = tonumber(arguments.lines)
end

-- So many of the options, each once: the beginning of a Fisher-Yates shuffle.
local function basket()
  local wanted = {}
  for i = 1, lines do
    local j = math.random(i, #options)
    options[i], options[j] = options[j], options[i]
    wanted[i] = '{"option": ' .. options[i] .. ', "quantity": 1}'
  end
  local drop = arguments.drop and '"drop": ' .. arguments.drop .. ", " or ""
  return "{" .. drop .. '"lines": [' .. table.concat(wanted, ", ") .. "]}"
end

function request()
  sent = sent + 1
  local headers = shoppers[math.random(#shoppers)]
  headers["Idempotency-Key"] = arguments.seed .. "-" .. thread_number .. "-" .. sent
  return wrk.format("POST", "/api/v1/orders/", headers, basket())
end
