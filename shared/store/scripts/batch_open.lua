-- A batch begins to be expanded; nobody sees it until `commit`. Answers {ok}, {taken_over} from an earlier request with its key whose gateway
-- died, {in_flight} while that one is being expanded, or {replay, id, fingerprint} of what it made. A key has no fingerprint until then.
-- KEYS: batch:{id}   ARGV: batch tenant idem_key idem_ttl_ms lease_ms  then (field, value)*
local batch, tenant, t, answer = ARGV[1], ARGV[2], now(), 'ok'
local idem = ARGV[3] ~= '' and 'idem:' .. tenant .. ':' .. ARGV[3] or nil
if idem then
  local seen = redis.call('HMGET', idem, 'fp', 'id')
  if seen[2] and seen[2] ~= batch then
    if seen[1] ~= '' then return {'replay', seen[2], seen[1]} end
    if tonumber(redis.call('ZSCORE', 'batches', seen[2]) or '0') > t then return {'in_flight'} end
    abandon(seen[2], t)
    answer = 'taken_over'
  end
  redis.call('HSET', idem, 'fp', '', 'id', batch)
  redis.call('PEXPIRE', idem, ARGV[4])
end
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'state', 'expanding', 'tenant', tenant, 'created', int(t), 'idem', idem or '', unpack(ARGV, 6))
end
redis.call('ZADD', 'batches', int(t + tonumber(ARGV[5])), batch)
return {answer}
