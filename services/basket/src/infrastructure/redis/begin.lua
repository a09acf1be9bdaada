-- Takes an idempotency key for a run, or says what is known about it.
-- KEYS[1] the key   ARGV[1] fingerprint   ARGV[2] a new operation id   ARGV[3] now   ARGV[4] lease end   ARGV[5] life in ms
-- ARGV[6] the fingerprint an earlier version of the service would have kept
local held = redis.call('HMGET', KEYS[1], 'fingerprint', 'operation', 'lease', 'status', 'headers', 'body')
if not held[1] then
  redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'operation', ARGV[2], 'lease', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {'run', ARGV[2], '', ''}
end
if held[1] ~= ARGV[1] and held[1] ~= ARGV[6] then
  return {'mismatch', '', '', ''}
end
if held[4] then
  return {'replay', held[4], held[5], held[6]}
end
if tonumber(held[3]) > tonumber(ARGV[3]) then
  return {'in_flight', '', '', ''}
end
redis.call('HSET', KEYS[1], 'lease', ARGV[4])
return {'run', held[2], '', ''}
