# Local servers for the services that are enabled. Databases trust the name of the process that connects over their socket, so
# there is no password to keep. Redis can only be reached by TCP, so it gets a password, made up on the machine.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.shop;
  wanted = cfg.backends;
  all = import ../nix/services.nix;
  keeping = store: lib.filterAttrs (_: service: (service.store or null) == store) all;
  speaking = lib.filterAttrs (_: service: service.kafka && !(service.embedded or false)) all;
  userOf = name: "shop_${name}";
  # The users, and databases, of the enabled services that keep their data in STORE.
  users = store: map userOf (lib.filter (name: cfg.${name}.enable) (lib.attrNames (keeping store)));
  # What is set for each of these services, as far as it is enabled.
  each = set: f: lib.mapAttrs (name: _: lib.mkIf cfg.${name}.enable (f name)) set;
  after =
    set: units:
    lib.mapAttrs' (
      name: _:
      lib.nameValuePair "shop-${name}" (
        lib.mkIf cfg.${name}.enable {
          wants = units;
          after = units;
        }
      )
    ) set;

  redisPassword = "/var/lib/shop-redis/password";
  broker = "127.0.0.1:9092";
  controller = "127.0.0.1:9093";
in
{
  options.services.shop.backends = lib.mapAttrs (_: what: { enable = lib.mkEnableOption what; }) {
    postgresql = "a local PostgreSQL for the services that keep their data there, each with a database and a user of its own";
    mariadb = "a local MariaDB for the services that keep their data there, each with a database and a user of its own";
    redis = "a local Redis for baskets, with a password made up on the machine, on the disk after a second";
    kafka = "a local Kafka of one broker, by itself (KRaft), reachable from this machine only";
  };

  config = lib.mkMerge [
    (lib.mkIf wanted.postgresql.enable {
      services.postgresql = {
        enable = true;
        ensureDatabases = users "postgresql";
        ensureUsers = map (name: {
          inherit name;
          ensureDBOwnership = true;
        }) (users "postgresql");
      };
      services.shop = each (keeping "postgresql") (name: {
        settings.database.url = lib.mkDefault "postgres:///${userOf name}?host=/run/postgresql&user=${userOf name}&sslmode=disable";
      });
      systemd.services = after (keeping "postgresql") [ "postgresql.target" ];
    })

    (lib.mkIf wanted.mariadb.enable {
      services.mysql = {
        enable = true;
        package = lib.mkDefault pkgs.mariadb;
        settings.mysqld.bind-address = lib.mkDefault "127.0.0.1";
        ensureDatabases = users "mariadb";
        ensureUsers = map (name: {
          inherit name;
          ensurePermissions."${name}.*" = "ALL PRIVILEGES";
        }) (users "mariadb");
      };
      services.shop = each (keeping "mariadb") (name: {
        settings.database.url = lib.mkDefault "mysql://${userOf name}@localhost/${userOf name}?socket=/run/mysqld/mysqld.sock&ssl-mode=DISABLED";
      });
      systemd.services = after (keeping "mariadb") [ "mysql.service" ];
    })

    (lib.mkIf wanted.redis.enable {
      services.redis.servers.shop = {
        enable = true;
        bind = "127.0.0.1";
        port = lib.mkDefault 6379;
        requirePassFile = redisPassword;
        # A basket must survive a restart, and must not be evicted.
        appendOnly = true;
        save = [ ];
        settings.maxmemory-policy = "noeviction";
      };
      services.shop = each (keeping "redis") (_: {
        settings.redis = {
          host = lib.mkDefault "127.0.0.1";
          port = lib.mkDefault config.services.redis.servers.shop.port;
        };
        credentials.REDIS_PASSWORD = lib.mkDefault redisPassword;
      });
      systemd.services = lib.mkMerge [
        {
          shop-redis-password = {
            description = "The password between the shop and its Redis";
            before = [ "redis-shop.service" ];
            requiredBy = [ "redis-shop.service" ];
            serviceConfig = {
              Type = "oneshot";
              RemainAfterExit = true;
              StateDirectory = "shop-redis";
              StateDirectoryMode = "0700";
              UMask = "0077";
            };
            # Renamed into place, so that half a password is never found.
            script = ''
              if [ ! -s ${redisPassword} ]; then
                head -c 32 /dev/urandom | base64 -w 0 | tr -d '+/=' >${redisPassword}.new
                mv ${redisPassword}.new ${redisPassword}
              fi
            '';
          };
        }
        (after (keeping "redis") [
          "shop-redis-password.service"
          "redis-shop.service"
        ])
      ];
    })

    (lib.mkIf wanted.kafka.enable {
      services.apache-kafka = {
        enable = true;
        # Any will do for a cluster of one, as long as it stays.
        clusterId = lib.mkDefault "c2hvcC1rYWZrYS0wMDAwMQ";
        formatLogDirs = true;
        settings = {
          "process.roles" = [
            "broker"
            "controller"
          ];
          "node.id" = 1;
          "listeners" = [
            "PLAINTEXT://${broker}"
            "CONTROLLER://${controller}"
          ];
          "controller.listener.names" = [ "CONTROLLER" ];
          "controller.quorum.voters" = [ "1@${controller}" ];
          "log.dirs" = [ "/var/lib/apache-kafka" ];
          # There is one broker to keep copies on.
          "offsets.topic.replication.factor" = 1;
          "transaction.state.log.replication.factor" = 1;
          "transaction.state.log.min.isr" = 1;
        };
      };
      services.shop = each speaking (_: {
        settings.kafka.brokers = lib.mkDefault [ broker ];
      });
      systemd.services = after speaking [ "apache-kafka.service" ];
    })
  ];
}
