-- Ends or renews a lease on an idempotency key, for whom it still belongs to.
-- KEYS[1] the key   ARGV[1] who held it   ARGV[2] 'hold', 'finish' or 'forget'
-- ARGV[3] lease end, or status   ARGV[4] headers   ARGV[5] body
local held = redis.call('HMGET', KEYS[1], 'owner', 'status')
if held[1] ~= ARGV[1] or held[2] then
  return 0
end
if ARGV[2] == 'hold' then
  redis.call('HSET', KEYS[1], 'lease', ARGV[3])
elseif ARGV[2] == 'finish' then
  redis.call('HSET', KEYS[1], 'status', ARGV[3], 'headers', ARGV[4], 'body', ARGV[5])
else
  redis.call('DEL', KEYS[1])
end
return 1
