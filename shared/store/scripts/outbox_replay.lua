-- Deliveries again from their first attempt, each with the same webhook-id: those of a status (`any`; '': all but those on their way)
-- and of an endpoint ('': any). What has nowhere to go, since its endpoint is disabled or deleted, is passed over. Answers how many.
-- KEYS: whds:{tenant}   ARGV: tenant status endpoint id id …
local t, count = now(), 0
for i = 4, #ARGV do
  local id, key = ARGV[i], 'whd:' .. ARGV[i]
  local v = redis.call('HMGET', key, 'tenant', 'state', 'endpoint', 'url')
  local wanted = ARGV[2] == 'any' or v[2] == ARGV[2] or ARGV[2] == '' and v[2] ~= 'pending'
  if v[1] == ARGV[1] and wanted and (ARGV[3] == '' or v[3] == ARGV[3])
      and (not v[3] or redis.call('HGET', 'endpoint:' .. v[3], 'state') == 'enabled') then
    redis.call('PERSIST', key)
    redis.call('HSET', key, 'state', 'pending', 'tries', 0, 'next', int(t), 'error', '')
    queue_delivery(id, v[4], t)
    count = count + 1
  end
end
if count > 0 then redis.call('PUBLISH', 'wake', 'outbox') end
return count
