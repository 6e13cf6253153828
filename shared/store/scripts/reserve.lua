-- A worker is about to spend more than the edit has reserved. 1 it may, 0 the edit is no longer this worker's; or {name, limit, left} of the limit
-- that this would break. A batch whose own limit it is, is held until its owner raises it: the edit goes back and waits with the rest.
-- KEYS: job:{id}   ARGV: id gen micro_usd
local j = load(ARGV[1])
if not j or j.gen ~= tonumber(ARGV[2]) or j.state ~= 'running' then return 0 end
local more = tonumber(ARGV[3]) - j.reserved
if more <= 0 then return 1 end
redis.call('DEL', 'none')
local broken = broken_limit(limits_of(j.tenant, j.created), more)
if broken then return broken end
if j.batch ~= '' then
  local m = redis.call('HMGET', 'batch:' .. j.batch, 'max_micro_usd', 'reserved', 'spent')
  local left = m[1] and tonumber(m[1]) - tonumber(m[2] or '0') - tonumber(m[3] or '0')
  if left and more > left then
    local v = load_batch(j.batch)
    if v.state == 'running' then hold(j.batch, v, 'max_cost') end
    return {'batch', m[1], int(math.max(0, left))}
  end
end
redis.call('HSET', KEYS[1], 'reserved', ARGV[3])
count_money(j.tenant, j.created, j.batch, 'reserved', more)
return 1
