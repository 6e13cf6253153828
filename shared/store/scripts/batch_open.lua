-- A batch begins to be expanded; nobody sees it until `commit`. Answers {ok}, {in_flight}, or {replay, id, fingerprint} of an earlier one.
-- KEYS: batch:{id}   ARGV: batch tenant idem_key idem_ttl_ms abandoned_after_ms  then (field, value)*
local batch, tenant, t = ARGV[1], ARGV[2], now()
local idem = ARGV[3] ~= '' and 'idem:' .. tenant .. ':' .. ARGV[3] or nil
if idem then
  local seen = redis.call('HMGET', idem, 'fp', 'id')
  if seen[2] and seen[2] ~= batch then
    if seen[1] then return {'replay', seen[2], seen[1]} end
    return {'in_flight'}
  end
  redis.call('HSET', idem, 'id', batch)
  redis.call('PEXPIRE', idem, ARGV[4])
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'state', 'expanding', 'tenant', tenant, 'created', int(t), 'idem', idem or '', unpack(ARGV, 6))
end
redis.call('ZADD', 'batches', int(t + tonumber(ARGV[5])), batch)
return {'ok'}
