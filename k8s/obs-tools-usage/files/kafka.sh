# Each broker is told its number and address by its pod's name.
set -eu
name=$(hostname)
{
  cat /etc/shop/server.properties
  echo "node.id=${name##*-}"
  echo "advertised.listeners=PLAINTEXT://$name.{{ include "shop.fullname" . }}-kafka-headless:9092"
} >/tmp/server.properties
bin=/opt/kafka/bin
"$bin/kafka-storage.sh" format --ignore-formatted --config /tmp/server.properties \
  --cluster-id {{ printf "%s/%s" .Release.Namespace (include "shop.fullname" .) | sha256sum | trunc 16 | b64enc | trimSuffix "==" }}
exec "$bin/kafka-server-start.sh" /tmp/server.properties
