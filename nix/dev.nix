# `nix run .#dev`: every service as a process of its own, on real servers with the settings the programs assume, under
# process-compose. Data is kept in ./data/dev, the key that all of them know each other by too; the gateway hands out tokens on
# this machine: `curl 'localhost:8083/dev/token?user=ada'`.
{
  apacheKafka,
  binaries,
  coreutils,
  curl,
  formats,
  jdk_headless,
  lib,
  mariadb,
  openssl,
  postgresql,
  process-compose,
  redis,
  services,
  writeShellApplication,
}:
let
  script =
    name: runtimeInputs: text:
    lib.getExe (writeShellApplication {
      name = "dev-${name}";
      runtimeInputs = [ coreutils ] ++ runtimeInputs;
      inherit text;
    });

  kafkaSettings = (formats.javaProperties { }).generate "server.properties" {
    "process.roles" = "broker,controller";
    "node.id" = "1";
    "listeners" = "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093";
    "controller.listener.names" = "CONTROLLER";
    "controller.quorum.voters" = "1@127.0.0.1:9093";
    "offsets.topic.replication.factor" = "1";
    "transaction.state.log.replication.factor" = "1";
    "transaction.state.log.min.isr" = "1";
    "group.initial.rebalance.delay.ms" = "0";
  };

  probe = command: {
    exec = { inherit command; };
    period_seconds = 1;
    timeout_seconds = 5;
    failure_threshold = 60;
  };

  # Stopped in the reverse order of their start, each with time to write down what it has.
  server = command: ready: {
    inherit command;
    readiness_probe = probe ready;
    shutdown.timeout_seconds = 30;
  };

  servers = {
    postgresql =
      server
        (script "postgresql" [ postgresql ] ''
          data=$PWD/data/dev/postgresql
          if [ ! -e "$data/PG_VERSION" ]; then
            rm -rf "$data.new"
            initdb -D "$data.new" -U postgres -A scram-sha-256 --pwfile=<(echo password) -E UTF8 --locale=C.UTF-8
            mv "$data.new" "$data"
          fi
          for database in product_service notification_service; do
            echo "create database $database" | postgres --single -D "$data" postgres 2>&1 | grep -v 'already exists' || true
          done
          exec postgres -D "$data" -p 5432 -c listen_addresses=127.0.0.1 -c unix_socket_directories=
        '')
        (
          script "postgresql-ready" [
            postgresql
          ] "PGPASSWORD=password psql -h 127.0.0.1 -U postgres -c 'select 1' product_service"
        )
      // {
        # Fast: SIGTERM would wait until everybody has left.
        shutdown = {
          signal = 2;
          timeout_seconds = 30;
        };
      };
    mariadb =
      server
        (script "mariadb" [ mariadb ] ''
          data=$PWD/data/dev/mariadb
          if [ ! -e "$data" ]; then
            rm -rf "$data.new"
            mariadb-install-db --no-defaults --basedir=${mariadb} --datadir="$data.new" --auth-root-authentication-method=normal --skip-test-db
            mv "$data.new" "$data"
          fi
          # Read at every start, so each statement may find its work done.
          cat >"$data/init.sql" <<'SQL'
          CREATE DATABASE IF NOT EXISTS payment_service;
          CREATE OR REPLACE USER payment@'%' IDENTIFIED BY 'password';
          GRANT ALL PRIVILEGES ON payment_service.* TO payment@'%';
          SQL
          exec mariadbd --no-defaults --basedir=${mariadb} --datadir="$data" --port=3306 --bind-address=127.0.0.1 \
            --socket=mariadb.sock --skip-name-resolve --init-file="$data/init.sql"
        '')
        (
          script "mariadb-ready"
            [
              mariadb
            ]
            "MYSQL_PWD=password mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -u payment -e 'select 1' payment_service"
        );
    redis = server (script "redis" [ redis ] ''
      mkdir -p "$PWD/data/dev/redis"
      exec redis-server --port 6379 --bind 127.0.0.1 --dir "$PWD/data/dev/redis" --appendonly yes --save ""
    '') (script "redis-ready" [ redis ] "redis-cli -h 127.0.0.1 ping | grep -q PONG");
    kafka = server (script "kafka"
      [
        apacheKafka
        jdk_headless
      ]
      ''
        data=$PWD/data/dev/kafka
        mkdir -p "$data"
        cat ${kafkaSettings} - >"$data/server.properties" <<EOF
        log.dirs=$data/log
        EOF
        export LOG_DIR=$data/server KAFKA_HEAP_OPTS=-Xmx512m
        if [ ! -e "$data/log/meta.properties" ]; then
          kafka-storage.sh format -t "$(kafka-storage.sh random-uuid)" -c "$data/server.properties"
        fi
        exec kafka-server-start.sh "$data/server.properties"
      ''
    ) (script "kafka-ready" [ ] "exec 3<>/dev/tcp/127.0.0.1/9092");
  };

  separate = lib.filterAttrs (_: service: !(service.embedded or false)) services;

  local = lib.concatLists (
    lib.mapAttrsToList (
      _: service:
      let
        variable = lib.toUpper service.section;
      in
      [ "${variable}_SERVICE_URLS=http://localhost:${toString service.http}" ]
      ++ lib.optional (
        service ? grpc
      ) "${variable}_SERVICE_GRPC_URLS=http://localhost:${toString service.grpc}"
    ) (lib.filterAttrs (_: service: service ? section) separate)
  );

  process = name: service: {
    command = lib.getExe binaries.${name};
    depends_on =
      lib.genAttrs (lib.optional (service ? store) service.store ++ lib.optional service.kafka "kafka")
        (_: {
          condition = "process_healthy";
        });
    environment = [
      "LOG_FORMAT=text"
    ]
    ++ lib.optionals (name == "gateway") (local ++ [ "SHOP_IDENTITY__DEVELOPMENT=true" ]);
    readiness_probe = probe "${lib.getExe curl} -fsS -m 2 http://127.0.0.1:${toString service.http}/health/ready";
    availability.restart = "on_failure";
    shutdown.timeout_seconds = 30;
  };

  processes = (formats.json { }).generate "process-compose.json" {
    version = "0.5";
    is_strict = true;
    processes = servers // lib.mapAttrs process separate;
  };
in
writeShellApplication {
  name = "shop-dev";
  runtimeInputs = [
    openssl
    process-compose
  ];
  text = ''
    mkdir -p data/dev
    export SHOP_HOST=127.0.0.1 IDENTITY_KEY_FILE=$PWD/data/dev/identity.pem
    if [ ! -s "$IDENTITY_KEY_FILE" ]; then
      openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$IDENTITY_KEY_FILE.new"
      mv "$IDENTITY_KEY_FILE.new" "$IDENTITY_KEY_FILE"
    fi
    exec process-compose --config ${processes} --ordered-shutdown --no-server "$@"
  '';
  meta.description = "Every service on real servers, each in a process of its own";
}
