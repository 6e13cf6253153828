-- What /metrics tells of this moment: {unfinished, {lane, ready, oldest_ms, running}*}, {pending, overdue_ms}, {workers, slots, lag_ms},
-- and how much of its spending limit the tenant has used that is nearest to one, in millionths.
-- Of a lane's tenants 1 000 are looked at, and of 100 how long the first edit waits; of tenants 10 000 in all, of lines of webhooks 1 000.
-- KEYS: lanes   ARGV: silent_ms
local t, lanes = now(), {}
for _, lane in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local ready, oldest = 0, 0
  for i, tenant in ipairs(redis.call('ZRANGE', 'turn:' .. lane, 0, 999)) do
    local queue = 'ready:' .. lane .. ':' .. tenant
    ready = ready + redis.call('ZCARD', queue)
    local head = i <= 100 and redis.call('ZRANGE', queue, 0, 0)[1]
    local v = head and redis.call('HMGET', 'job:' .. head, 'created', 'started')
    if v and v[1] and not v[2] then oldest = math.max(oldest, t - tonumber(v[1])) end
  end
  lanes[#lanes + 1] = {lane, ready, int(oldest), redis.call('SCARD', 'active:lane:' .. lane)}
end

local pending, overdue = 0, 0
for i, line in ipairs(redis.call('ZRANGE', 'outbox', 0, 999)) do
  pending = pending + redis.call('ZCARD', 'outbox:' .. line)
  if i == 1 then overdue = math.max(0, t - tonumber(redis.call('ZSCORE', 'outbox', line))) end
end

local workers, slots, lag = 0, 0, 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', 'workers', int(t - tonumber(ARGV[1])), '+inf', 'LIMIT', 0, 1000)) do
  local own_slots, own_lag = string.match(redis.call('GET', 'worker:' .. name) or '', '^(%d+) (%d+) ')
  workers, slots, lag = workers + 1, slots + tonumber(own_slots or '0'), math.max(lag, tonumber(own_lag or '0'))
end

local used = 0
for _, tenant in ipairs(redis.call('ZRANGE', 'tenants', 0, 9999)) do
  for _, l in ipairs(limits_of(tenant, t)) do
    local limit = tonumber(l[2])
    if limit > 0 then used = math.max(used, (limit - l[3]) / limit) end
  end
end
return {redis.call('ZCARD', 'timers'), lanes, {pending, int(overdue)}, {workers, slots, lag}, int(used * 1000000)}
