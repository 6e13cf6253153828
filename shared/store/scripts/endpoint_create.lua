-- An endpoint, unless the tenant has `most` of them. Answers {ok|replay, id}, {full} or {mismatch}. Sent twice it answers the same.
-- KEYS: endpoint:{id}   ARGV: id tenant most idem_key fingerprint idem_ttl_ms state field value …
local id, tenant = ARGV[1], ARGV[2]
local idem = ARGV[4] ~= '' and 'idem:' .. tenant .. ':' .. ARGV[4] or nil
if idem then
  local seen = redis.call('HMGET', idem, 'fp', 'id')
  if seen[1] and seen[1] ~= ARGV[5] then return {'mismatch'} end
  if seen[1] then return {seen[2] == id and 'ok' or 'replay', seen[2]} end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'ok', id} end
if redis.call('ZCARD', 'endpoints:' .. tenant) >= tonumber(ARGV[3]) then return {'full'} end
if idem then
  redis.call('HSET', idem, 'fp', ARGV[5], 'id', id)
  redis.call('PEXPIRE', idem, ARGV[6])
end
redis.call('ZADD', 'endpoints:' .. tenant, int(now()), id)
redis.call('HSET', KEYS[1], 'tenant', tenant, 'state', ARGV[7], 'created', int(now()), unpack(ARGV, 8))
if ARGV[7] == 'disabled' then redis.call('HSET', KEYS[1], 'disabled_reason', 'by_owner') end
publish_endpoints(tenant)
return {'ok', id}
