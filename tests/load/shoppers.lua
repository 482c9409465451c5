-- What the scripts here share: their arguments, the shoppers, when to stop, and the count of what came back.
--
-- wrk calls setup(thread) and done() in one Lua state; init(), delay(), request() and response() run in one
-- state for each of its threads. At its own end wrk drops what is in flight. So that every answer can be held
-- against an order, these scripts stop by themselves: each connection asks delay() before each request, and
-- is parked there once the time, or the number of requests, is used up. When all are parked nothing is in
-- flight; "drained" tells tests/load/wrk.py to end the run.
--
-- Arguments are name=value, after `--`:
--   lead         seconds before answers are counted for the rate: every connection must have had its first
--   seconds      for how long they are counted; then stop
--   limit        or stop after so many requests, over all threads
--   pace         optional: send so many requests a second, over all threads, instead of as many as are answered
--   connections  of all threads
--   threads      how many there are
--   seed         of this run: random numbers and Idempotency-Keys derive from it

local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } moment_t;
  int clock_gettime(int clock, moment_t *moment);
]]
local MONOTONIC, PARKED_MS = 1, 3600 * 1000
local moment = ffi.new("moment_t")

local function now()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.seconds) + tonumber(moment.nanoseconds) / 1e9
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
  thread:set("thread_number", #threads)
end

-- Reads the arguments into `arguments`; the scripts' init() calls it first.
function read_arguments(args)
  arguments = {}
  for _, text in ipairs(args) do
    local name, value = text:match("^([%w_]+)=(.*)$")
    arguments[name] = value
  end
  thread_count = tonumber(arguments.threads)
  math.randomseed(tonumber(arguments.seed) + 7919 * thread_number)
  for _ = 1, 10 do math.random() end

  connections = tonumber(arguments.connections) / thread_count
  allowance = math.huge
  if arguments.limit then
    local limit = tonumber(arguments.limit)
    allowance = math.floor(limit / thread_count)
    if thread_number <= limit % thread_count then allowance = allowance + 1 end
  end
  pause = arguments.pace and thread_count / tonumber(arguments.pace) or 0
  granted, parked, elapsed = 0, 0, 0
  statuses, statuses_in_time = {}, {}
end

-- Lines of a file, split at tabs.
function read_rows(path)
  local rows = {}
  for line in io.lines(path) do
    local row = {}
    for field in (line .. "\t"):gmatch("([^\t]*)\t") do row[#row + 1] = field end
    rows[#rows + 1] = row
  end
  return rows
end

-- Headers from the fields `first`, `first + 1`, … of a row, each `Name: value`.
function read_headers(row, first)
  local headers = { ["Content-Type"] = "application/json" }
  for i = first, #row do
    local name, value = row[i]:match("^([^:]+): (.*)$")
    headers[name] = value
  end
  return headers
end

-- Milliseconds until a connection may send its next request. Asked once by each connection at its start and
-- once after each answer.
function delay()
  local time = now()
  if not started then
    started = time
    counting = time + tonumber(arguments.lead)
    deadline = counting + tonumber(arguments.seconds)
    due = time
  end
  if time < deadline and granted < allowance then
    granted = granted + 1
    if pause == 0 then return 0 end
    -- What could not be sent in time is made up for, by less than a second's worth.
    due = math.max(due + pause, time - 1)
    return math.max(0, (due - time) * 1000)
  end
  parked = parked + 1
  if parked == connections then
    io.stdout:write("drained\n")
    io.stdout:flush()
  end
  return PARKED_MS
end

-- Having this function costs wrk a copy of every answer's headers and body, 5 microseconds: of these servers'
-- thousands of requests a second that is one in a hundred.
function response(status)
  local time = now()
  elapsed = time - counting
  statuses[status] = (statuses[status] or 0) + 1
  if time >= counting and time <= deadline then
    statuses_in_time[status] = (statuses_in_time[status] or 0) + 1
  end
end

-- wrk asks each script for one request before the run, to look at it. It is never sent.
function is_rehearsal()
  return granted == 0
end

-- Sums a table of counts by status over the threads, as JSON.
local function summed(name)
  local sums, texts = {}, {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get(name)) do sums[status] = (sums[status] or 0) + count end
  end
  for status, count in pairs(sums) do texts[#texts + 1] = string.format('"%d": %d', status, count) end
  return "{" .. table.concat(texts, ", ") .. "}"
end

function done(summary, latency)
  local longest, errors = 0, summary.errors
  for _, thread in ipairs(threads) do longest = math.max(longest, thread:get("elapsed")) end
  local function ms(percent) return latency:percentile(percent) / 1e3 end
  io.stdout:write(string.format(
    '\n{"statuses": %s, "in_time": %s, "elapsed": %.6f, ' ..
    '"broken": {"connect": %d, "read": %d, "write": %d, "timeout": %d}, ' ..
    '"p50": %.3f, "p95": %.3f, "p99": %.3f, "longest": %.3f}\n',
    summed("statuses"), summed("statuses_in_time"), longest,
    errors.connect, errors.read, errors.write, errors.timeout,
    ms(50), ms(95), ms(99), latency.max / 1e3
  ))
end
