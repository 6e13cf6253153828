-- An endpoint gone for good; what waits for it is stopped when it is due. 0: unknown to this tenant.
-- KEYS: endpoint:{id}   ARGV: id tenant
if redis.call('HGET', KEYS[1], 'tenant') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', 'endpoints:' .. ARGV[2], ARGV[1])
publish_endpoints(ARGV[2])
return 1
