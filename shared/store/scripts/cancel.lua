-- Queued: canceled at once. Running: flagged, the worker sees it at its next beat. Answers the state, `canceling` or `absent`.
-- KEYS: job:{id}   ARGV: id tenant retention_ms
local j = load(ARGV[1])
if not j or j.tenant ~= ARGV[2] or not is_promised(j) then return 'absent' end
if TERMINAL[j.state] then return j.state end
if j.state == 'running' then
  if not j.cancel then
    redis.call('DEL', 'none')
    redis.call('HSET', KEYS[1], 'cancel', '1')
    changed(ARGV[1])
    redis.call('PUBLISH', 'wake', 'cancel')
  end
  return 'canceling'
end
finish(ARGV[1], j, 'canceled', tonumber(ARGV[3]), {'cost_micro_usd', 0})
return 'canceled'
