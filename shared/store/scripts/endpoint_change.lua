-- An endpoint changed. `state`: `enabled`, `disabled`, or '' to leave it as it is. 0: unknown to this tenant.
-- KEYS: endpoint:{id}   ARGV: id tenant state field value …
local v = redis.call('HMGET', KEYS[1], 'tenant', 'state')
if v[1] ~= ARGV[2] then return 0 end
if ARGV[3] == 'enabled' then
  redis.call('HDEL', KEYS[1], 'disabled_reason', 'failing_since')
  redis.call('HSET', KEYS[1], 'state', 'enabled')
elseif ARGV[3] ~= '' and v[2] == 'enabled' then redis.call('HSET', KEYS[1], 'state', 'disabled', 'disabled_reason', 'by_owner') end
if ARGV[4] then redis.call('HSET', KEYS[1], unpack(ARGV, 4)) end
publish_endpoints(ARGV[2])
return 1
