# shellcheck shell=bash
# A Kafka cluster of up to three brokers for scripts/backends, each a server of its own that may be stopped alone, with listeners
# that encrypt and want a login. Nothing starts them but their names: `scripts/backends start --only kafka1,kafka2,kafka3`.
# SHOP_BACKENDS_KAFKA_CERTS is a folder with ca.pem and broker.pem (certificate and key, for 127.0.0.1). SHOP_BACKENDS_KAFKA_OIDC is
# an issuer whose tokens one more listener takes that are for kafka.
# shellcheck disable=SC2154

MEMBERS=(kafka1 kafka2 kafka3)

# What each listener speaks, by its name: as inside of the cluster, login and encryption, encryption with a certificate of
# the client's, login alone.
MEMBER_LISTENERS=(PLAINTEXT SECURE MUTUAL CLEAR)
# Encryption, and a token.
[[ -z ${SHOP_BACKENDS_KAFKA_OIDC:-} ]] || MEMBER_LISTENERS+=(OAUTH)

for number in 1 2 3; do
  eval "kafka${number}_missing() { kafka_missing; }
    kafka${number}_install() { kafka_install; }
    kafka${number}_start() { member_start $number; }
    kafka${number}_ready() { member_ready $number; }
    kafka${number}_env() { member_env $number; }"
done
unset number

# How many there are is what the first start was asked for.
member_count() { cat -- "$DIR/kafka-members"; }

member_port() { port "kafka$1-${2,,}"; }

# The ports of all, which each has to know of the others. They stay: the others were told.
member_ports() {
  local number listener
  for ((number = 1; number <= $(member_count); number++)); do
    for listener in "${MEMBER_LISTENERS[@]}" CONTROLLER; do
      [[ $(member_port "$number" "$listener") != '?' ]] || reserve_port "kafka$number-${listener,,}" $((20 + 10 * number + ${#listener}))
    done
    cp -- "$DIR/ports/kafka$number-plaintext" "$DIR/ports/kafka$number"
  done
}

# Those that vote for a controller: all, with commas between.
member_voters() {
  local number voters=()
  for ((number = 1; number <= $(member_count); number++)); do
    voters+=("$number@$(host "kafka$number"):$(member_port "$number" CONTROLLER)")
  done
  (IFS=,; echo "${voters[*]}")
}

member_listeners() {
  local number=$1 listener listeners=()
  shift
  for listener; do listeners+=("$listener://$(host "kafka$number"):$(member_port "$number" "$listener")"); done
  (IFS=,; echo "${listeners[*]}")
}

member_start() {
  local number=$1 name=kafka$1 dir=$DIR/kafka$1 user certs=${SHOP_BACKENDS_KAFKA_CERTS:-$DIR/kafka-certs} count least
  user=$(unprivileged kafka)
  [[ -s $certs/ca.pem && -s $certs/broker.pem ]] || die "SHOP_BACKENDS_KAFKA_CERTS has to name a folder with ca.pem and broker.pem"
  mkdir -p "$dir" "$DIR/kafka-certs"
  [[ -e $DIR/kafka-members ]] || echo "${#SERVERS[@]}" >"$DIR/kafka-members"
  [[ -e $DIR/kafka-cluster ]] || head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c1-22 >"$DIR/kafka-cluster"
  # A folder of the test's own may be closed to the servers' user.
  [[ -e $DIR/kafka-certs/ca.pem ]] || cp -- "$certs"/{ca,broker}.pem "$DIR/kafka-certs/"
  give "$user" "$DIR"/kafka-certs/*.pem
  member_ports
  java_log "$name"
  count=$(member_count)
  least=$((count > 1 ? count - 1 : 1))
  cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=$number
log.dirs=$dir/data
listeners=$(member_listeners "$number" "${MEMBER_LISTENERS[@]}" CONTROLLER)
advertised.listeners=$(member_listeners "$number" "${MEMBER_LISTENERS[@]}")
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL,CLEAR:SASL_PLAINTEXT,OAUTH:SASL_SSL,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters=$(member_voters)
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$DIR/kafka-certs/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location=$DIR/kafka-certs/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.clear.sasl.enabled.mechanisms=PLAIN
listener.name.clear.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_shop="$(password)";
default.replication.factor=$count
min.insync.replicas=$least
offsets.topic.replication.factor=$count
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=$count
transaction.state.log.min.isr=$least
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
CONF
  [[ -z ${SHOP_BACKENDS_KAFKA_OIDC:-} ]] || member_oauth "$SHOP_BACKENDS_KAFKA_OIDC" >>"$dir/server.properties"
  give "$user" "$dir/server.properties"
  [[ -e $dir/data ]] || make_data "$user" "$dir/data"
  # The users are written down as the storage is made; a storage that has them is left as it is.
  # shellcheck disable=SC2016 # the shell inside fills it in
  JAVA_OPTIONS="-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j.configuration=file:$dir/log4j.properties
    ${SHOP_BACKENDS_KAFKA_OIDC:+-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=$SHOP_BACKENDS_KAFKA_OIDC/jwks}" \
    launch "$name" "$user" bash -c '
      libs=$1 cluster=$2 password=$3
      [[ -e data/meta.properties ]] || java $JAVA_OPTIONS -cp "$libs/*" kafka.tools.StorageTool format -t "$cluster" -c server.properties \
        --add-scram "SCRAM-SHA-256=[name=shop,password=$password]" --add-scram "SCRAM-SHA-512=[name=shop,password=$password]" || exit
      exec java $JAVA_OPTIONS -cp "$libs/*" kafka.Kafka server.properties
    ' "$name" "$(readlink -f "$(kafka_libs)")" "$(cat "$DIR/kafka-cluster")" "$(password)"
}

# Whose tokens are taken. Who does not show the next one in time is hung up on.
member_oauth() {
  cat <<CONF
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.oauth.oauthbearer.connections.max.reauth.ms=3600000
sasl.oauthbearer.jwks.endpoint.url=$1/jwks
sasl.oauthbearer.expected.issuer=$1
sasl.oauthbearer.expected.audience=kafka
sasl.oauthbearer.clock.skew.seconds=0
CONF
}

# Ready when it knows of all that live: before, it may not be one of them.
member_ready() {
  local name living=0
  for name in "${MEMBERS[@]}"; do ! alive "$name" || living=$((living + 1)); done
  [[ $(kafka_brokers_at "$(host "kafka$1")" "$(member_port "$1" PLAINTEXT)") == "$living" ]]
}

member_env() {
  local listener
  for listener in "${MEMBER_LISTENERS[@]}"; do
    echo "export SHOP_TEST_KAFKA$1_$listener=$(host "kafka$1"):$(member_port "$1" "$listener")"
  done
  echo "export SHOP_TEST_KAFKA_PASSWORD=$(password)"
}
