-- A tenant's money now: {{daily, limit or '', spent, reserved}, {monthly, …}}, in 1e-6 USD.
-- KEYS: tenant:{tenant}   ARGV: tenant
local limits, out = redis.call('HMGET', KEYS[1], 'daily_limit', 'monthly_limit'), {}
for i, period in ipairs(periods(ARGV[1], now())) do
  local v = redis.call('HMGET', period.key, 'spent', 'reserved')
  out[i] = {period.name, limits[i] or '', v[1] or '0', v[2] or '0'}
end
return out
