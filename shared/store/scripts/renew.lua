-- A worker's heartbeat: it lives, these are its providers, these edits are still in hand. Answers `ok`, `cancel` or `lost` for each.
-- KEYS: worker:{name}   ARGV: worker slots providers(comma) lease_ms draining lag_ms  then (id, gen)*
redis.call('DEL', 'none')
local t, out = now(), {}
if ARGV[5] == '1' then
  redis.call('ZREM', 'workers', ARGV[1])
else
  -- Those that were killed did not leave: a newcomer forgets them.
  if redis.call('ZADD', 'workers', int(t), ARGV[1]) == 1 then redis.call('ZREMRANGEBYSCORE', 'workers', '-inf', int(t - DAY_MS)) end
  redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[6] .. ' ' .. ARGV[3], 'PX', 60000)
  for provider in string.gmatch(ARGV[3], '[^,]+') do redis.call('ZADD', 'providers', int(t), provider) end
end
for i = 7, #ARGV, 2 do
  local v = redis.call('HMGET', 'job:' .. ARGV[i], 'state', 'gen', 'cancel')
  if v[1] ~= 'running' or v[2] ~= ARGV[i + 1] then out[#out + 1] = 'lost'
  else
    redis.call('ZADD', 'timers', int(t + tonumber(ARGV[4])), ARGV[i])
    out[#out + 1] = v[3] == '1' and 'cancel' or 'ok'
  end
end
return out
