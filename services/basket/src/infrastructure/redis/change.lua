-- Stores a changed basket if nobody else changed it since it was read; the one place that writes baskets.
-- KEYS[1] the basket   KEYS[2] the mark of the operation, if it has one; same hash tag, so the same cluster slot
-- ARGV[1] revision that was read, '' for no basket     ARGV[2] revision to store
-- ARGV[3] 'put', 'drop', 'keep', or 'look', which writes nothing      ARGV[4] the document      ARGV[5] its life in ms
-- ARGV[6] the mark's life in ms      ARGV[7] whether to say of which history of writes all this is
-- Answers what happened and, unless it was applied, what is stored, and the history.
local history = ''
if ARGV[7] == '1' then
  local told = redis.call('INFO', 'replication')
  -- A replica has its master's, but says only what it has heard so far.
  history = string.find(told, 'role:master') and string.match(told, 'master_replid:(%x+)') or ''
end
local held = redis.call('HMGET', KEYS[1], 'revision', 'document')
local revision = held[1] or ''
if revision == ARGV[2] then
  return {'applied', '', '', history} -- by this very call, whose answer was lost with the connection
end
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  return {'repeated', revision, held[2] or '', history}
end
if revision ~= ARGV[1] or ARGV[3] == 'look' then
  return {'lost', revision, held[2] or '', history}
end
if ARGV[3] == 'put' then
  redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'document', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
elseif ARGV[3] == 'drop' then
  redis.call('DEL', KEYS[1])
end
if KEYS[2] then
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[6])
end
return {'applied', '', '', history}
