-- Takes an idempotency key for a run, or says what is known about it.
-- KEYS[1] the key   KEYS[2] where this operation's is kept while another operation has the first; same cluster slot
-- ARGV[1] the operation's name   ARGV[2] fingerprint   ARGV[3] a new operation id   ARGV[4] who takes it   ARGV[5] now
-- ARGV[6] lease end   ARGV[7] life in ms   ARGV[8] the fingerprint an earlier version of the service would have kept
-- ARGV[9] whether to say of which history of writes all this is
-- Answers what is to be done, then for a run the key, the operation id and whether it is a new one; else the answer; and the
-- history.
local history = ''
if ARGV[9] == '1' then
  local told = redis.call('INFO', 'replication')
  -- A replica has its master's, but says only what it has heard so far.
  history = string.find(told, 'role:master') and string.match(told, 'master_replid:(%x+)') or ''
end
local function read(name)
  return redis.call('HMGET', name, 'fingerprint', 'operation', 'lease', 'status', 'headers', 'body', 'method', 'owner')
end
local name = KEYS[1]
local held = read(name)
-- Versions that did not keep the operation are told apart by the fingerprint alone.
if (held[1] and held[7] and held[7] ~= ARGV[1]) or (not held[1] and redis.call('EXISTS', KEYS[2]) == 1) then
  name = KEYS[2]
  held = read(name)
end
if not held[1] then
  redis.call('HSET', name, 'method', ARGV[1], 'fingerprint', ARGV[2], 'operation', ARGV[3], 'owner', ARGV[4], 'lease', ARGV[6])
  redis.call('PEXPIRE', name, ARGV[7])
  return {'run', name, ARGV[3], 'fresh', history}
end
if held[1] ~= ARGV[2] and held[1] ~= ARGV[8] then
  return {'mismatch', '', '', '', history}
end
if held[4] then
  return {'replay', held[4], held[5], held[6], history}
end
if held[8] == ARGV[4] then
  return {'run', name, held[2], '', history} -- to this very call, whose answer was lost with the connection
end
if tonumber(held[3]) > tonumber(ARGV[5]) then
  return {'in_flight', '', '', '', history}
end
redis.call('HSET', name, 'owner', ARGV[4], 'lease', ARGV[6])
return {'run', name, held[2], '', history}
