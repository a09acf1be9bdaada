# shellcheck shell=bash
# One Kafka broker for scripts/backends: by itself (KRaft) or with ZooKeeper.
# shellcheck disable=SC2154

# The broker's jars: those of a kafka-server-start.sh on PATH, else fetched once from Maven Central.
kafka_libs() {
  local script
  if script=$(command -v kafka-server-start.sh); then
    echo "$(dirname "$(dirname "$(readlink -f "$script")")")/libs"
  else
    echo "$ROOT/.backends/kafka-$(kafka_version)"
  fi
}

# SHOP_BACKENDS_KAFKA_VERSION names another one: 4 and newer know more of groups, and nothing of ZooKeeper.
kafka_version() {
  [[ -z ${SHOP_BACKENDS_KAFKA_VERSION:-} ]] || { echo "$SHOP_BACKENDS_KAFKA_VERSION"; return; }
  sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$ROOT/scripts/lib/kafka-pom.xml"
}

kafka_missing() {
  command -v java >/dev/null || echo default-jre-headless
  [[ -d $(kafka_libs) ]] || command -v mvn >/dev/null || echo maven
}

kafka_install() {
  local libs
  libs=$(kafka_libs)
  [[ ! -d $libs ]] || return 0
  say "fetching Kafka $(kafka_version) with Maven (about 60 MB, once)"
  # --dir may name another folder; the jars are shared by all.
  settle "$ROOT/.backends" >/dev/null
  rm -rf "$libs.part"
  mvn -B -q -f "$ROOT/scripts/lib/kafka-pom.xml" -Dkafka.version="$(kafka_version)" dependency:copy-dependencies -DoutputDirectory="$libs.part" \
    >"$DIR/install.log" 2>&1 || { tail -n 20 "$DIR/install.log" >&2; die "could not fetch Kafka from Maven Central"; }
  chmod -R a+rX "$libs.part"
  mv "$libs.part" "$libs"
}

kafka_mode() { echo "${KAFKA_MODE:-$(cat "$DIR/kafka/mode" 2>/dev/null || echo kraft)}"; }

# A broker that runs in the other mode than asked for makes way.
kafka_settle() {
  [[ $(kafka_mode) == "$(cat "$DIR/kafka/mode")" ]] || stop_all TERM kafka
}

java_run() {
  local name=$1 user=$2 heap=$3
  shift 3
  # Quick to start rather than quick at its peak: tests restart it more than they load it.
  launch "$name" "$user" java "-Xmx$heap" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    "-Dlog4j.configuration=file:$DIR/$name/log4j.properties" -cp "$(readlink -f "$(kafka_libs)")/*" "$@"
}

java_log() {
  cat >"$DIR/$1/log4j.properties" <<'CONF'
log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %c{1} %m%n
CONF
}

kafka_start() {
  local user mode dir=$DIR/kafka
  mode=$(kafka_mode)
  user=$(unprivileged kafka)
  mkdir -p "$dir"
  java_log kafka
  reserve_port kafka 3
  cat >"$dir/server.properties" <<CONF
log.dirs=$dir/data-$mode
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
group.initial.rebalance.delay.ms=0
controlled.shutdown.enable=false
CONF
  # Where clients are told to go, such as a proxy before it.
  [[ -z ${SHOP_BACKENDS_KAFKA_AT:-} ]] ||
    echo "advertised.listeners=PLAINTEXT://$SHOP_BACKENDS_KAFKA_AT" >>"$dir/server.properties"
  "kafka_configure_$mode" "$user"
  echo "$mode" >"$dir/mode"
  java_run kafka "$user" 512m kafka.Kafka "$dir/server.properties"
}

# In both modes a killed broker's registration stands until its session ends. That delays the next start, so
# the session is short.
kafka_configure_kraft() {
  local user=$1 dir=$DIR/kafka
  reserve_port kafka-controller 4
  cat >>"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://127.0.0.1:$(port kafka),CONTROLLER://127.0.0.1:$(port kafka-controller)
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:$(port kafka-controller)
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
CONF
  [[ ! -e $dir/data-kraft/meta.properties ]] || return 0
  make_data "$user" "$dir/data-kraft"
  as "$user" java "-Dlog4j.configuration=file:$dir/log4j.properties" -cp "$(readlink -f "$(kafka_libs)")/*" \
    kafka.tools.StorageTool format -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c1-22)" \
    -c "$dir/server.properties" >>"$dir/log" 2>&1 || die "formatting Kafka's storage failed; its log is $dir/log"
}

kafka_configure_zookeeper() {
  local user=$1 dir=$DIR/kafka
  compgen -G "$(kafka_libs)/zookeeper-3*.jar" >/dev/null || die "this Kafka has no ZooKeeper mode any more; 3.9 is the last that has"
  zookeeper_start "$user"
  cat >>"$dir/server.properties" <<CONF
broker.id=1
listeners=PLAINTEXT://127.0.0.1:$(port kafka)
zookeeper.connect=127.0.0.1:$(port zookeeper)
zookeeper.session.timeout.ms=2000
CONF
  make_data "$user" "$dir/data-zookeeper"
}

zookeeper_start() {
  local user=$1 dir=$DIR/zookeeper
  if alive zookeeper; then return; fi
  say "starting zookeeper"
  make_data "$user" "$dir/data"
  java_log zookeeper
  reserve_port zookeeper 5
  cat >"$dir/zoo.cfg" <<CONF
tickTime=500
dataDir=$dir/data
clientPort=$(port zookeeper)
clientPortAddress=127.0.0.1
maxClientCnxns=0
admin.enableServer=false
CONF
  java_run zookeeper "$user" 128m org.apache.zookeeper.server.quorum.QuorumPeerMain "$dir/zoo.cfg"
  wait_ready zookeeper zookeeper_ready
}

zookeeper_ready() {
  exec 3<>"/dev/tcp/127.0.0.1/$(port zookeeper)"
  printf srvr >&3
  timeout 2 cat <&3 | grep -q 'Zookeeper version'
}

# A broker stopped for good takes its ZooKeeper along; one killed by a test finds it again.
kafka_stopped() {
  if [[ $1 == TERM ]] && alive zookeeper; then stop_all TERM zookeeper; fi
}

# A Metadata request (version 1, no topics). The answer counts the brokers that serve: none while it still starts.
kafka_brokers_at() {
  exec 3<>"/dev/tcp/$1/$2"
  printf '\0\0\0\016\0\003\0\001\0\0\0\001\377\377\0\0\0\0' >&3
  timeout 2 head -c 12 <&3 | od -An -v -tu1 | awk '{ print $12 }'
}

kafka_ready() { [[ $(kafka_brokers_at 127.0.0.1 "$(port kafka)") == 1 ]]; }

kafka_env() {
  echo "export SHOP_TEST_KAFKA_BROKERS=127.0.0.1:$(port kafka)"
  echo "export SHOP_TEST_KAFKA_MODE=$(cat "$DIR/kafka/mode")"
}
