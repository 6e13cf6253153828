-- How long edits wait that no worker has had yet, told from the heads of the queues: {oldest interactive, oldest bulk, in ms; tenants
-- whose interactive edits wait longer than `late_ms`; 1 if a lane has 32 tenants that wait and all of them so long}.
-- A paused lane waits for its provider, and a tenant at its cap for itself: neither says that there are too few workers.
-- KEYS: lanes   ARGV: late_ms default_cap
local t, late_ms, oldest, late, crowded = now(), tonumber(ARGV[1]), {0, 0}, {}, 0
for _, lane in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local turns = redis.call('ZRANGE', 'turn:' .. lane, 0, 31)
  local late_here = 0
  if tonumber(redis.call('HGET', 'lane:' .. lane, 'paused_until') or '0') > t then turns = {} end
  for _, tenant in ipairs(turns) do
    local cap = tonumber(redis.call('HGET', 'tenant:' .. tenant, 'cap') or ARGV[2])
    local head = redis.call('ZRANGE', 'ready:' .. lane .. ':' .. tenant, 0, 0, 'WITHSCORES')
    local v = head[1] and redis.call('HMGET', 'job:' .. head[1], 'created', 'started')
    if v and v[1] and not v[2] and redis.call('SCARD', 'active:tenant:' .. tenant) < cap then
      local kind, age = tonumber(head[2]) < 1e13 and 1 or 2, t - tonumber(v[1])
      oldest[kind] = math.max(oldest[kind], age)
      if kind == 1 and age > late_ms then
        late_here = late_here + 1
        late[#late + 1] = tenant
      end
    end
  end
  if late_here == 32 then crowded = 1 end
end
return {int(oldest[1]), int(oldest[2]), late, crowded}
