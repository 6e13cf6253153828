-- The next edits for a worker's free slots: fair turns between tenants, within the limits of lane and tenant. Each is running and
-- leased to this worker when the script returns. Asked again with the same nonce (the reply was lost), it answers the same edits.
-- A worker takes from the lanes of its own providers, the suspects, and lanes of providers that no worker has had for a minute.
-- KEYS: took:{worker}   ARGV: worker nonce want lease_ms default_cap retention_ms providers(,a,b,)
local worker, want, lease = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local out, given, t = {}, {}, now()

local last = redis.call('HMGET', KEYS[1], 'nonce', 'ids')
if last[1] == ARGV[2] then
  for id, gen in string.gmatch(last[2], '(%S+) (%d+)') do
    local v = redis.call('HMGET', 'job:' .. id, 'state', 'gen', 'worker')
    if v[1] == 'running' and v[2] == gen and v[3] == worker then out[#out + 1] = {id, redis.call('HGETALL', 'job:' .. id)} end
  end
  return out
end
if last[1] then redis.call('DEL', KEYS[1]) end

-- The tenant with the lowest pass that is below its cap of running edits.
local function next_tenant(lane)
  local turns = redis.call('ZRANGE', 'turn:' .. lane, 0, 31, 'WITHSCORES')
  for i = 1, #turns, 2 do
    local own = redis.call('HMGET', 'tenant:' .. turns[i], 'cap', 'weight')
    if redis.call('SCARD', 'active:tenant:' .. turns[i]) < tonumber(own[1] or ARGV[5]) then
      return turns[i], tonumber(turns[i + 1]), tonumber(own[2] or '1')
    end
  end
end

local function open_lane(lane)
  local v = redis.call('HMGET', 'lane:' .. lane, 'limit', 'paused_until', 'rate', 'burst', 'tokens', 'ts')
  if tonumber(v[2] or '0') > t then return nil end
  local limit = lane == 'suspect' and 1 or tonumber(v[1] or '1000000')
  local L = {name = lane, rate = tonumber(v[3] or '0'), tokens = 1000000, room = limit - redis.call('SCARD', 'active:lane:' .. lane)}
  if L.rate > 0 then
    local burst = tonumber(v[4] or '1')
    L.tokens = math.min(burst, tonumber(v[5] or burst) + (t - tonumber(v[6] or t)) * L.rate / 1000)
  end
  return L
end

-- One edit of this lane, or false when it has none to give.
local function take_one(L)
  if L.room < 1 or L.tokens < 1 then return false end
  local tenant, pass, weight = next_tenant(L.name)
  if not tenant then return false end
  local queue = 'ready:' .. L.name .. ':' .. tenant
  local id = redis.call('ZPOPMIN', queue)[1]
  if redis.call('ZCARD', queue) == 0 then redis.call('ZREM', 'turn:' .. L.name, tenant) end
  if not id then return true end
  local j = load(id)
  if not j or j.state ~= 'queued' then return true end
  if j.deadline <= t then
    finish(id, j, 'failed', tonumber(ARGV[6]), {'error_code', 'deadline_exceeded', 'cost_micro_usd', 0})
    return true
  end
  local step = pass + 1 / weight
  redis.call('SET', 'vt:' .. L.name, tostring(pass))
  redis.call('HSET', 'pass:' .. L.name, tenant, tostring(step))
  if redis.call('ZSCORE', 'turn:' .. L.name, tenant) then redis.call('ZADD', 'turn:' .. L.name, tostring(step), tenant) end
  redis.call('SADD', 'active:lane:' .. L.name, id)
  redis.call('SADD', 'active:tenant:' .. tenant, id)
  redis.call('ZADD', 'timers', int(t + lease), id)
  local key = 'job:' .. id
  local gen = int(j.gen + 1)
  redis.call('HINCRBY', key, 'attempts', 1)
  if redis.call('HSETNX', key, 'started', int(t)) == 1 then observe('pickup|' .. kind_of(j), t - j.created) end
  redis.call('HSET', key, 'state', 'running', 'gen', gen, 'at', '', 'worker', worker, 'waiting_on', '')
  changed(id)
  if j.batch == '' then tell(tenant, 'edit.running', id) else redis.call('HINCRBY', 'batch:' .. j.batch, 'running', 1) end
  L.room, L.tokens = L.room - 1, L.tokens - 1
  out[#out + 1] = {id, redis.call('HGETALL', key)}
  given[#given + 1] = id .. ' ' .. gen
  return true
end

local function mine(lane)
  if lane == 'suspect' or string.find(ARGV[7], ',' .. lane .. ',', 1, true) then return true end
  return t - tonumber(redis.call('ZSCORE', 'providers', lane) or '0') > 60000
end

local lanes = {}
for _, name in ipairs(redis.call('SMEMBERS', 'lanes')) do
  if redis.call('ZCARD', 'turn:' .. name) > 0 and mine(name) then
    local L = open_lane(name)
    if L then lanes[#lanes + 1] = L end
  end
end
local first, tries = t % math.max(1, #lanes), 0
while #out < want and #lanes > 0 and tries < 500 do
  local i = first % #lanes + 1
  if take_one(lanes[i]) then first = first + 1 else
    local L = table.remove(lanes, i)
    if L.rate > 0 then redis.call('HSET', 'lane:' .. L.name, 'tokens', tostring(L.tokens), 'ts', int(t)) end
  end
  tries = tries + 1
end
for _, L in ipairs(lanes) do
  if L.rate > 0 then redis.call('HSET', 'lane:' .. L.name, 'tokens', tostring(L.tokens), 'ts', int(t)) end
end
if #out > 0 then
  redis.call('HSET', KEYS[1], 'nonce', ARGV[2], 'ids', table.concat(given, ' '))
  redis.call('PEXPIRE', KEYS[1], 600000)
end
return out
