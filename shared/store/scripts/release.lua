-- A worker gives an edit back: drain, backoff, a provider's limit, or another lane. 1 done (also when it was done before), 0 not its own.
-- One that is to be canceled ends here: nobody shall call for it again.
-- KEYS: job:{id}   ARGV: id gen delay_ms lane waiting_on failed(0|1) pause_ms longest_delay_ms course retention_ms
local id = ARGV[1]
local j = load(id)
if not j or j.gen ~= tonumber(ARGV[2]) then return 0 end
if j.state ~= 'running' then return (j.state == 'queued' or j.cancel) and 1 or 0 end
local course = ARGV[9] ~= '' and {'course', ARGV[9]} or {}
if j.cancel then
  finish(id, j, 'canceled', tonumber(ARGV[10]), {'cost_micro_usd', 0, unpack(course)})
  return 1
end
leave(id, j)
if #course > 0 then redis.call('HSET', KEYS[1], unpack(course)) end
local t, delay, lane = now(), tonumber(ARGV[3]), 'lane:' .. j.lane
if ARGV[6] == '1' then
  redis.call('HINCRBY', KEYS[1], 'failures', 1)
  local budget = tonumber(redis.call('HGET', lane, 'budget') or '10')
  if budget < 1 then delay = tonumber(ARGV[8]) else redis.call('HSET', lane, 'budget', tostring(budget - 1)) end
end
if tonumber(ARGV[7]) > 0 then
  local until_ms = math.max(t + tonumber(ARGV[7]), tonumber(redis.call('HGET', lane, 'paused_until') or '0'))
  redis.call('HSET', lane, 'paused_until', int(until_ms))
end
if ARGV[4] ~= '' then j.lane = ARGV[4] end
if delay <= 0 then
  to_ready(id, j)
else
  redis.call('HSET', KEYS[1], 'state', 'queued', 'at', 'wait', 'lane', j.lane, 'waiting_on', ARGV[5])
  redis.call('ZADD', 'timers', int(math.min(t + delay, math.max(t, j.deadline))), id)
  changed(id)
end
return 1
