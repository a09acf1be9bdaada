# The password comes from a file, so that neither a ConfigMap nor the list of processes shows it.
set -eu
umask 077
cat >/run/redis/redis.conf <<CONF
port 6379
dir /data
requirepass "$(cat /run/secrets/shop/redis-password)"
# Baskets survive a restart; at most a second of changes is lost to a power cut.
appendonly yes
appendfsync everysec
save ""
maxmemory {{ .Values.redis.maxmemory }}
maxmemory-policy noeviction
CONF
exec redis-server /run/redis/redis.conf
