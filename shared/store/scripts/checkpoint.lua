-- Fenced writes of progress: the provider's handle and the like. 1 written, 0 the edit is no longer this worker's.
-- KEYS: job:{id}   ARGV: id gen  then (field, value)*
redis.call('DEL', 'none')
local v = redis.call('HMGET', KEYS[1], 'state', 'gen')
if v[1] ~= 'running' or v[2] ~= ARGV[2] then return 0 end
local fields = {}
for i = 3, #ARGV, 2 do
  fields[i - 2], fields[i - 1] = ARGV[i], ARGV[i + 1]
  if ARGV[i + 1] == '@now' then fields[i - 1] = int(now()) end
end
redis.call('HSET', KEYS[1], unpack(fields))
changed(ARGV[1])
return 1
