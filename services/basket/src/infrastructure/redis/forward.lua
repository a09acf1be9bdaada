-- Notes whose the lines of a basket became, or only looks.
-- KEYS[1] the note      ARGV[1] whether to say of which history of writes this is
-- ARGV[2] the user, '' to look      ARGV[3] the note's life in ms
-- Answers the user, '' for nobody, and the history.
local history = ''
if ARGV[1] == '1' then
  local told = redis.call('INFO', 'replication')
  -- A replica has its master's, but says only what it has heard so far.
  history = string.find(told, 'role:master') and string.match(told, 'master_replid:(%x+)') or ''
end
if ARGV[2] == '' then
  return {redis.call('GET', KEYS[1]) or '', history}
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return {ARGV[2], history}
