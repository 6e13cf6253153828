-- One edit becomes a promise: idempotency, quota, record, index, queue and timer in one step. Sent twice, it answers the same id.
-- Answers {ok|replay|mismatch|full, id, record} or {budget, '', {daily|monthly, limit, left}}.
-- KEYS: job:{id}   ARGV: id tenant lane priority deadline_ms spec hook request_id parent quota idem_key fingerprint idem_ttl_ms listed_ms
--                        key_id reserved_micro_usd trace kept_ms [id of an edit, a batch or an upload whose pictures it borrows] …
local id, tenant, lane = ARGV[1], ARGV[2], ARGV[3]
local idem = ARGV[11] ~= '' and 'idem:' .. tenant .. ':' .. ARGV[11] or nil
if idem then
  local seen = redis.call('HMGET', idem, 'fp', 'id')
  if seen[1] and seen[1] ~= ARGV[12] then return {'mismatch', '', {}} end
  if seen[1] then return {seen[2] == id and 'ok' or 'replay', seen[2], redis.call('HGETALL', 'job:' .. seen[2])} end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'ok', id, redis.call('HGETALL', KEYS[1])} end
if tonumber(redis.call('HGET', 'open', tenant) or '0') >= tonumber(redis.call('HGET', 'tenant:' .. tenant, 'quota') or ARGV[10]) then return {'full', '', {}} end
local t = now()
local limits = limits_of(tenant, t)
local broken = broken_limit(limits, tonumber(ARGV[16]))
if broken then return {'budget', '', broken} end
local j = {tenant = tenant, lane = lane, batch = '', deadline = t + tonumber(ARGV[5]), rank = int(tonumber(ARGV[4]) * 1e13 + redis.call('INCR', 'sequence'))}
redis.call('HSET', KEYS[1], 'gen', 0, 'version', 0, 'tenant', tenant, 'rank', j.rank, 'deadline', int(j.deadline), 'spec', ARGV[6], 'created', int(t),
  'request_id', ARGV[8], 'key', ARGV[15])
if ARGV[16] ~= '0' then redis.call('HSET', KEYS[1], 'reserved', ARGV[16]) end
keep_limits(id, limits)
count_money(tenant, t, '', 'reserved', tonumber(ARGV[16]))
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'hook', ARGV[7]) end
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'parent', ARGV[9]) end
if ARGV[17] ~= '' then redis.call('HSET', KEYS[1], 'trace', ARGV[17]) end
for n = 19, #ARGV do redis.call('SET', 'kept:' .. ARGV[n], '1', 'PX', ARGV[18]) end
if idem then
  redis.call('HSET', idem, 'fp', ARGV[12], 'id', id)
  redis.call('PEXPIRE', idem, ARGV[13])
end
redis.call('ZADD', 'tjobs:' .. tenant, int(t), id)
redis.call('ZREMRANGEBYSCORE', 'tjobs:' .. tenant, '-inf', int(t - tonumber(ARGV[14])))
redis.call('PEXPIRE', 'tjobs:' .. tenant, ARGV[14])
redis.call('HINCRBY', 'open', tenant, 1)
to_ready(id, j)
tell(tenant, 'edit.queued', id)
redis.call('PEXPIRE', 'feed:' .. tenant, ARGV[14])
return {'ok', id, redis.call('HGETALL', KEYS[1])}
