-- The end of an edit, by the worker that holds it. 1 done, 2 it was done already by this holder, 0 it is no longer this worker's.
-- KEYS: job:{id}   ARGV: id gen state course cost_micro_usd error_code retention_ms
local id = ARGV[1]
local j = load(id)
if not j or j.gen ~= tonumber(ARGV[2]) then return 0 end
if j.state ~= 'running' then return TERMINAL[j.state] and 2 or 0 end
finish(id, j, ARGV[3], tonumber(ARGV[7]), {'course', ARGV[4], 'cost_micro_usd', ARGV[5], 'error_code', ARGV[6]})
-- Each success earns its lane a tenth of a retry.
if ARGV[3] == 'succeeded' then
  local lane = 'lane:' .. j.lane
  redis.call('HSET', lane, 'budget', tostring(math.min(10, tonumber(redis.call('HGET', lane, 'budget') or '10') + 0.1)))
end
return 1
