-- Fenced writes of progress: the provider's handle and the like. 1 written, 0 the edit is no longer this worker's.
-- KEYS: job:{id}   ARGV: id gen  then (field, value)*
redis.call('DEL', 'none')
local v = redis.call('HMGET', KEYS[1], 'state', 'gen')
if v[1] ~= 'running' or v[2] ~= ARGV[2] then return 0 end
for i = 3, #ARGV, 2 do
  local value = ARGV[i + 1]
  if value == '@now' then value = int(now()) end
  redis.call('HSET', KEYS[1], ARGV[i], value)
end
changed(ARGV[1])
return 1
