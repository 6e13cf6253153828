-- Shared by every script. Times are milliseconds of this server's clock, never a worker's.
-- Rule for scripts that must run on a full server: a removal comes first, then Redis lets the rest of the script write.
local TERMINAL = {succeeded = true, failed = true, canceled = true}
local DAY_MS = 86400000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Numbers above 2^53 or with an exponent would reach Redis as text such as 1.7e+12.
local function int(n) return string.format('%.0f', n) end

local function load(id)
  local v = redis.call('HMGET', 'job:' .. id, 'state', 'gen', 'at', 'tenant', 'lane', 'batch', 'kills', 'rank', 'deadline', 'cancel', 'hook',
    'created', 'reserved', 'key')
  if not v[1] then return nil end
  return {state = v[1], gen = tonumber(v[2]), at = v[3], tenant = v[4], lane = v[5], batch = v[6] or '', kills = tonumber(v[7] or '0'),
          rank = v[8], deadline = tonumber(v[9]), cancel = v[10] == '1', hook = v[11] or '', created = tonumber(v[12]),
          reserved = tonumber(v[13] or '0'), key = v[14] or ''}
end

-- Every visible change: the version is the ETag and the event id of the stream; the channel wakes those who wait.
local function changed(id)
  redis.call('HINCRBY', 'job:' .. id, 'version', 1)
  redis.call('PUBLISH', 'changed', id)
end

local function leave(id, j)
  redis.call('ZREM', 'timers', id)
  redis.call('SREM', 'active:lane:' .. j.lane, id)
  redis.call('SREM', 'active:tenant:' .. j.tenant, id)
  redis.call('ZREM', 'ready:' .. j.lane .. ':' .. j.tenant, id)
  if j.batch ~= '' and j.state == 'running' then redis.call('HINCRBY', 'batch:' .. j.batch, 'running', -1) end
end

-- Months since year 0 of the civil calendar, UTC. Source: H. Hinnant, "chrono-compatible low-level date algorithms".
local function month_of(day)
  local z = day + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local mp = math.floor((5 * (doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))) + 2) / 153)
  return (yoe + era * 400) * 12 + mp + 2
end

-- What counts a tenant's money in the day and the month (UTC) of a time: `spent`, and `reserved` by unfinished edits, in 1e-6 USD.
local function periods(tenant, t)
  local day = math.floor(t / DAY_MS)
  return {{name = 'daily', key = 'spend:' .. tenant .. ':d' .. int(day), keep_ms = 40 * DAY_MS},
          {name = 'monthly', key = 'spend:' .. tenant .. ':m' .. int(month_of(day)), keep_ms = 400 * DAY_MS}}
end

-- The limits that a tenant has, each as {name, limit, left}.
local function limits_of(tenant, t)
  local found, limits = {}, redis.call('HMGET', 'tenant:' .. tenant, 'daily_limit', 'monthly_limit')
  for i, period in ipairs(periods(tenant, t)) do
    if limits[i] then
      local v = redis.call('HMGET', period.key, 'spent', 'reserved')
      found[#found + 1] = {period.name, limits[i], math.max(0, tonumber(limits[i]) - tonumber(v[1] or '0') - tonumber(v[2] or '0'))}
    end
  end
  return found
end

-- The one of `limits` that so much more would break, as {name, limit, left}; nil: none.
local function broken_limit(limits, more)
  for _, l in ipairs(limits) do
    if more > 0 and more > l[3] then return {l[1], l[2], int(l[3])} end
  end
end

-- The limits as they are kept with an edit: daily limit, left of it, monthly limit, left of it.
local function keep_limits(id, limits)
  if #limits == 0 then return end
  local of = {daily = ',', monthly = ','}
  for _, l in ipairs(limits) do of[l[1]] = l[2] .. ',' .. int(l[3]) end
  redis.call('HSET', 'job:' .. id, 'budget', of.daily .. ',' .. of.monthly)
end

-- `field` is `reserved` or `spent`. An edit's money counts in the periods in which it was accepted.
local function count_money(tenant, created, batch, field, amount)
  if amount == 0 then return end
  for _, period in ipairs(periods(tenant, created)) do
    redis.call('HINCRBY', period.key, field, int(amount))
    redis.call('PEXPIRE', period.key, period.keep_ms)
  end
  if batch ~= '' then redis.call('HINCRBY', 'batch:' .. batch, field, int(amount)) end
end

-- The tenant's feed, in order; what it loses at its end is older than anybody may ask for.
-- `nth`: '' except for what happens to the same one again, as a second hold does: that is another event.
local function tell(tenant, kind, id, nth)
  redis.call('XADD', 'feed:' .. tenant, 'MAXLEN', '~', 100000, '*', 'type', kind, 'id', id, 'nth', nth or '')
  redis.call('PUBLISH', 'changed', 'feed:' .. tenant)
end

-- A tenant with work takes part in the turns of its lane; a newcomer starts at the lane's clock, so that idling saves up nothing.
local function join_turn(lane, tenant)
  if redis.call('ZSCORE', 'turn:' .. lane, tenant) then return end
  local clock = tonumber(redis.call('GET', 'vt:' .. lane) or '0')
  local own = tonumber(redis.call('HGET', 'pass:' .. lane, tenant) or '0')
  redis.call('ZADD', 'turn:' .. lane, tostring(math.max(clock, own)), tenant)
end

-- Rank is kept over retries: a job that was given back goes to the front of its tenant's queue. An item of a held batch waits apart.
local function to_ready(id, j)
  if j.batch ~= '' and redis.call('HGET', 'batch:' .. j.batch, 'state') == 'held' then
    redis.call('SREM', 'batch:' .. j.batch .. ':window', id)
    redis.call('HSET', 'job:' .. id, 'state', 'queued', 'at', 'staged', 'lane', j.lane, 'waiting_on', 'worker')
    redis.call('ZADD', 'batch:' .. j.batch .. ':staged', j.rank, id)
    redis.call('ZADD', 'timers', int(j.deadline), id)
    changed(id)
    return
  end
  redis.call('HSET', 'job:' .. id, 'state', 'queued', 'at', 'ready', 'lane', j.lane, 'waiting_on', 'worker')
  redis.call('ZADD', 'ready:' .. j.lane .. ':' .. j.tenant, j.rank, id)
  redis.call('SADD', 'lanes', j.lane)
  join_turn(j.lane, j.tenant)
  redis.call('ZADD', 'timers', int(j.deadline), id)
  changed(id)
  redis.call('PUBLISH', 'wake', j.lane)
end

-- Deliveries wait in a line per address (scheme, host and port), and `outbox` says when each line is to be looked at: a receiver
-- that takes nothing holds up its own line and no other.
local function line_of(url) return string.lower(string.match(url, '^%a+://[^/?#]*') or '') end

-- When the line is to be looked at: when its earliest delivery is due, but not while 4 are being sent; the end of one plans anew.
-- True if that is now.
local function plan_line(line, t)
  local first = redis.call('ZRANGE', 'outbox:' .. line, 0, 0, 'WITHSCORES')
  if not first[1] then
    redis.call('ZREM', 'outbox', line)
    return false
  end
  local due = tonumber(first[2])
  redis.call('ZREMRANGEBYSCORE', 'sends:' .. line, '-inf', int(t))
  if redis.call('ZCARD', 'sends:' .. line) >= 4 then due = math.max(due, tonumber(redis.call('ZRANGE', 'sends:' .. line, 0, 0, 'WITHSCORES')[2])) end
  redis.call('ZADD', 'outbox', int(due), line)
  return due <= t
end

local function queue_delivery(delivery, url, due)
  redis.call('ZADD', 'outbox:' .. line_of(url), int(due), delivery)
  redis.call('ZADD', 'outbox', 'LT', int(due), line_of(url))
end

-- One delivery of one event to one address; HSETNX makes a second one with the same name impossible. `endpoint`: '' for the edit's own URL.
local function deliver(id, tenant, kind, url, endpoint, nth)
  local name = string.gsub(id, '^%a+_', '') .. '_' .. string.gsub(kind, '^.*%.', '') .. (nth or '')
  local delivery = 'whd_' .. name .. (endpoint ~= '' and string.gsub(endpoint, '^%a+', '') or '')
  local key = 'whd:' .. delivery
  if redis.call('HSETNX', key, 'event_id', 'evt_' .. name) == 0 then return end
  local t = now()
  redis.call('HSET', key, 'tenant', tenant, 'job', id, 'event', kind, 'url', url, 'state', 'pending', 'tries', 0, 'created', int(t), 'next', int(t))
  if endpoint ~= '' then redis.call('HSET', key, 'endpoint', endpoint) end
  queue_delivery(delivery, url, t)
  -- The tenant's deliveries by their time, for a week.
  redis.call('ZREMRANGEBYSCORE', 'whds:' .. tenant, '-inf', int(t - 7 * DAY_MS))
  redis.call('ZADD', 'whds:' .. tenant, int(t), delivery)
  redis.call('PEXPIRE', 'whds:' .. tenant, 7 * DAY_MS)
  redis.call('PUBLISH', 'wake', 'outbox')
end

-- What `announce` reads: the tenant's enabled endpoints as JSON [[id, url, ",kind,kind,"]…]. To be called after every change of one.
local function publish_endpoints(tenant)
  local enabled = {}
  for _, id in ipairs(redis.call('ZRANGE', 'endpoints:' .. tenant, 0, -1)) do
    local v = redis.call('HMGET', 'endpoint:' .. id, 'state', 'url', 'events')
    if v[1] == 'enabled' then enabled[#enabled + 1] = {id, v[2], v[3]} end
  end
  if #enabled == 0 then redis.call('HDEL', 'tenant:' .. tenant, 'endpoints')
  else redis.call('HSET', 'tenant:' .. tenant, 'endpoints', cjson.encode(enabled)) end
end

-- An event into the feed and to those of the tenant's endpoints that want it. `endpoints`: JSON [[id, url, ",kind,kind,"]…], the enabled ones.
local function announce(id, tenant, kind, nth)
  tell(tenant, kind, id, nth)
  local endpoints = redis.call('HGET', 'tenant:' .. tenant, 'endpoints')
  if not endpoints then return end
  for _, e in ipairs(cjson.decode(endpoints)) do
    if e[3] == '' or string.find(e[3], ',' .. kind .. ',', 1, true) then deliver(id, tenant, kind, e[2], e[1], nth) end
  end
end

-- What /metrics tells is counted in one hash, in the very step that it tells of. The parts of a name are parted by `|`.
local function count(name, amount) redis.call('HINCRBY', 'telemetry', name, int(amount or 1)) end

-- A time, as one more in the bucket of its upper bound in ms, and in the sum. The bounds are those of `shared.store.overview`.
local BOUNDS_MS = {5, 25, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 120000, 300000, 900000, 3600000}
local function observe(name, ms)
  local bound = 'inf'
  for _, b in ipairs(BOUNDS_MS) do
    if ms <= b then
      bound = b
      break
    end
  end
  count(name .. '|' .. bound)
  count(name .. '|ms', ms)
end

-- How an edit is told apart from others by those who wait for it.
local function kind_of(j) return j.batch ~= '' and 'batch' or tonumber(j.rank) < 1e13 and 'interactive' or 'bulk' end
