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
  local v = redis.call('HMGET', 'job:' .. id, 'state', 'gen', 'at', 'tenant', 'lane', 'batch', 'kills', 'rank', 'deadline', 'cancel', 'hook')
  if not v[1] then return nil end
  return {state = v[1], gen = tonumber(v[2]), at = v[3], tenant = v[4], lane = v[5], batch = v[6] or '', kills = tonumber(v[7] or '0'),
          rank = v[8], deadline = tonumber(v[9]), cancel = v[10] == '1', hook = v[11] or ''}
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
end

-- A tenant with work takes part in the turns of its lane; a newcomer starts at the lane's clock, so that idling saves up nothing.
local function join_turn(lane, tenant)
  if redis.call('ZSCORE', 'turn:' .. lane, tenant) then return end
  local clock = tonumber(redis.call('GET', 'vt:' .. lane) or '0')
  local own = tonumber(redis.call('HGET', 'pass:' .. lane, tenant) or '0')
  redis.call('ZADD', 'turn:' .. lane, tostring(math.max(clock, own)), tenant)
end

-- Rank is kept over retries: a job that was given back goes to the front of its tenant's queue.
local function to_ready(id, j)
  redis.call('HSET', 'job:' .. id, 'state', 'queued', 'at', 'ready', 'lane', j.lane, 'waiting_on', 'worker')
  redis.call('ZADD', 'ready:' .. j.lane .. ':' .. j.tenant, j.rank, id)
  redis.call('SADD', 'lanes', j.lane)
  join_turn(j.lane, j.tenant)
  redis.call('ZADD', 'timers', int(j.deadline), id)
  changed(id)
  redis.call('PUBLISH', 'wake', j.lane)
end

-- One delivery for one event; HSETNX makes a second one with the same name impossible.
local function event(id, j, kind, url)
  local name = string.gsub(id, '^%a+_', '') .. '_' .. string.gsub(kind, '^.*%.', '')
  local key = 'whd:whd_' .. name
  if redis.call('HSETNX', key, 'event_id', 'evt_' .. name) == 0 then return end
  local t = int(now())
  redis.call('HSET', key, 'tenant', j.tenant, 'job', id, 'event', kind, 'url', url, 'state', 'pending', 'tries', 0, 'created', t, 'next', t)
  redis.call('ZADD', 'outbox', t, 'whd_' .. name)
  redis.call('PUBLISH', 'wake', 'outbox')
end

-- The only way into a terminal state. `fields` are written beside it (course, cost, error).
local function finish(id, j, state, retention_ms, fields)
  leave(id, j)
  local t, key = now(), 'job:' .. id
  local from = j.state
  redis.call('HSET', key, 'state', state, 'at', '', 'waiting_on', '', 'finished', int(t), 'expires', int(t + retention_ms), unpack(fields))
  redis.call('PEXPIRE', key, int(retention_ms))
  redis.call('HINCRBY', 'open', j.tenant, -1)
  redis.call('HINCRBY', 'totals', state, 1)
  changed(id)
  if string.find(j.hook, state, 1, true) then
    event(id, j, 'edit.' .. state, cjson.decode(redis.call('HGET', key, 'spec')).webhook_url)
  end
  local usage = 'usage:' .. j.tenant .. ':' .. int(math.floor(t / DAY_MS))
  redis.call('HINCRBY', usage, state, 1)
  redis.call('HINCRBY', usage, 'micro_usd', tonumber(redis.call('HGET', key, 'cost_micro_usd') or '0'))
  if j.batch ~= '' then
    local b = 'batch:' .. j.batch
    redis.call('HINCRBY', b, state, 1)
    if redis.call('HINCRBY', b, 'left', -1) == 0 then redis.call('HSET', b, 'state', 'done', 'finished', int(t)) end
  end
  return from
end
