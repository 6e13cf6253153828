-- Looks at everything that is due in `timers`, at most ARGV[4] a call. Answers {rescued, readied, failed}.
-- Outage guard: if nobody called this for half a lease, nobody could renew either; then leases are let run for one more.
-- KEYS: timers   ARGV: lease_ms max_kills retention_ms limit
local t, lease = now(), tonumber(ARGV[1])
redis.call('DEL', 'none')
local seen = redis.call('MGET', 'reap:last', 'reap:grace')
local last, grace_until = tonumber(seen[1] or int(t)), tonumber(seen[2] or '0')
redis.call('SET', 'reap:last', int(t))
if t - last > lease / 2 then
  grace_until = t + lease
  redis.call('SET', 'reap:grace', int(grace_until))
end
local grace = t < grace_until
local rescued, readied, failed = 0, 0, 0

local function rescue(id, j)
  local kills = redis.call('HINCRBY', 'job:' .. id, 'kills', 1)
  rescued = rescued + 1
  if j.cancel then finish(id, j, 'canceled', tonumber(ARGV[3]), {'cost_micro_usd', 0})
  elseif kills >= tonumber(ARGV[2]) then
    finish(id, j, 'failed', tonumber(ARGV[3]), {'error_code', 'worker_crashed', 'cost_micro_usd', 0})
    redis.call('ZADD', 'dead', int(t), id)
    redis.call('ZREMRANGEBYRANK', 'dead', 0, -10001)
  else
    leave(id, j)
    if kills >= 2 then j.lane = 'suspect' end
    to_ready(id, j)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'timers', '-inf', int(t), 'LIMIT', 0, tonumber(ARGV[4]))) do
  local j = load(id)
  if not j or TERMINAL[j.state] then redis.call('ZREM', 'timers', id)
  elseif j.state == 'running' then
    if grace then redis.call('ZADD', 'timers', int(t + lease / 4), id) else rescue(id, j) end
  elseif j.deadline <= t and not is_promised(j) then redis.call('ZADD', 'timers', int(t + lease), id)
  elseif j.deadline <= t then
    finish(id, j, 'failed', tonumber(ARGV[3]), {'error_code', 'deadline_exceeded', 'cost_micro_usd', 0})
    failed = failed + 1
  elseif j.at == 'wait' then
    to_ready(id, j)
    readied = readied + 1
  else redis.call('ZADD', 'timers', int(j.deadline), id) end
end
return {rescued, readied, failed}
