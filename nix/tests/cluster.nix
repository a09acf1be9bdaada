# A gateway, two machines with a replica of each service, one with the stores, one with Kafka. A machine with replicas is cut
# off and comes back, so does Kafka, one loses power. Nobody is refused once the gateway has noticed, and in the end nothing is
# lost and nothing happened twice.
{ self }:
let
  # For this test only: on a real machine they come from outside of the Nix store.
  secret = name: value: {
    systemd.tmpfiles.rules = [ "f /run/keys/${name} 0400 root root - ${value}" ];
  };

  # As systemd-tmpfiles reads them.
  key = "-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/jf6ugM4rQVOtKoK\\nRqBLYBdQRq4/lGvglpNNvbtNdyahRANCAAR6CWr2h7VYDj387n+BI/hOD3KPMep6\\nvtxxRS1weJ8MzoE/rEHYPm6CMb4Ou9u+76fSCTyN+WFKG/tIQCQUZ6qX\\n-----END PRIVATE KEY-----\\n";
  trusted = "-----BEGIN PUBLIC KEY-----\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeglq9oe1WA49/O5/gSP4Tg9yjzHq\\ner7ccUUtcHifDM6BP6xB2D5ugjG+Drvbvu+n0gk8jflhShv7SEAkFGeqlw==\\n-----END PUBLIC KEY-----\\n";

  replica = {
    imports = [
      self.nixosModules.default
      (secret "shop.pem" key)
      (secret "product" "open-sesame")
      (secret "basket" "open-sesame")
      (secret "payment" "open-sesame")
      (secret "notification" "open-sesame")
    ];
    virtualisation.memorySize = 1024;
    services.shop = {
      identity.keyFile = "/run/keys/shop.pem";
      product = {
        enable = true;
        openFirewall = true;
        settings = {
          database = {
            host = "stores";
            user = "product";
            name = "product_service";
          };
          kafka.brokers = [ "kafka:9092" ];
        };
        credentials.DB_PASSWORD = "/run/keys/product";
      };
      basket = {
        enable = true;
        openFirewall = true;
        settings = {
          redis.host = "stores";
          kafka.brokers = [ "kafka:9092" ];
        };
        credentials.REDIS_PASSWORD = "/run/keys/basket";
      };
      payment = {
        enable = true;
        openFirewall = true;
        settings = {
          database = {
            host = "stores";
            user = "payment";
            name = "payment_service";
          };
          # No real money is moved.
          provider.sandbox = true;
          kafka.brokers = [ "kafka:9092" ];
        };
        credentials.DB_PASSWORD = "/run/keys/payment";
      };
      notification = {
        enable = true;
        openFirewall = true;
        settings = {
          database = {
            host = "stores";
            user = "notification";
            name = "notification_service";
          };
          kafka.brokers = [ "kafka:9092" ];
        };
        credentials.DB_PASSWORD = "/run/keys/notification";
      };
    };
  };
in
{
  name = "shop-cluster";

  nodes = {
    stores =
      { pkgs, ... }:
      {
        virtualisation.memorySize = 2048;
        networking.firewall.allowedTCPPorts = [
          3306
          5432
          6379
        ];
        services.postgresql = {
          enable = true;
          enableTCPIP = true;
          authentication = ''
            host product_service product all scram-sha-256
            host notification_service notification all scram-sha-256
          '';
          initialScript = pkgs.writeText "databases.sql" ''
            CREATE ROLE product LOGIN PASSWORD 'open-sesame';
            CREATE DATABASE product_service OWNER product;
            CREATE ROLE notification LOGIN PASSWORD 'open-sesame';
            CREATE DATABASE notification_service OWNER notification;
          '';
        };
        services.mysql = {
          enable = true;
          package = pkgs.mariadb;
          settings.mysqld.skip-name-resolve = true;
          initialScript = pkgs.writeText "payment.sql" ''
            CREATE DATABASE payment_service;
            CREATE USER payment@'%' IDENTIFIED BY 'open-sesame';
            GRANT ALL PRIVILEGES ON payment_service.* TO payment@'%';
          '';
        };
        services.redis.servers.shop = {
          enable = true;
          bind = null;
          port = 6379;
          appendOnly = true;
          requirePassFile = toString (pkgs.writeText "password" "open-sesame");
        };
      };

    kafka =
      { lib, ... }:
      {
        imports = [ self.nixosModules.default ];
        virtualisation.memorySize = 2048;
        networking.firewall.allowedTCPPorts = [ 9092 ];
        services.shop.backends.kafka.enable = true;
        services.apache-kafka.settings = {
          listeners = lib.mkForce [
            "PLAINTEXT://0.0.0.0:9092"
            "CONTROLLER://127.0.0.1:9093"
          ];
          "advertised.listeners" = [ "PLAINTEXT://kafka:9092" ];
        };
      };

    one = replica;
    two = replica;

    gateway =
      { pkgs, ... }:
      {
        imports = [
          self.nixosModules.default
          (secret "shop.pub" trusted)
        ];
        environment.systemPackages = [
          pkgs.curl
          pkgs.jq
        ];
        services.shop.identity.trustedFile = "/run/keys/shop.pub";
        services.shop.gateway = {
          enable = true;
          openFirewall = true;
          settings = {
            rate_limit.enabled = false;
            health_check.interval = "1s";
            services = {
              product = {
                enabled = true;
                urls = [
                  "http://one:8080"
                  "http://two:8080"
                ];
                grpc_urls = [
                  "http://one:50050"
                  "http://two:50050"
                ];
              };
              basket = {
                enabled = true;
                urls = [
                  "http://one:8081"
                  "http://two:8081"
                ];
                grpc_urls = [
                  "http://one:50051"
                  "http://two:50051"
                ];
              };
              payment = {
                enabled = true;
                urls = [
                  "http://one:8082"
                  "http://two:8082"
                ];
                grpc_urls = [
                  "http://one:50052"
                  "http://two:50052"
                ];
              };
              notification = {
                enabled = true;
                urls = [
                  "http://one:8084"
                  "http://two:8084"
                ];
              };
            };
          };
        };
      };
  };

  testScript = builtins.readFile ./shop.py + ''
    shop = "http://localhost:8083"
    operators = "http://localhost:9083"


    def wait_healthy(count):
        """Until the gateway knows of so many backends that can be called, of each service."""
        for port in [8080, 8081, 8082, 8084]:
            gateway.wait_until_succeeds(
                f"curl -sSf -m 5 {operators}/metrics | grep '^gateway_backend_health' | grep 'backend=\"http://[a-z]*:{port}\"' "
                f"| awk '{{ up += $NF }} END {{ exit up != {count} }}'",
                timeout=120,
            )


    stores.start()
    kafka.start()
    for unit in ["postgresql.target", "mysql.service", "redis-shop.service"]:
        stores.wait_for_unit(unit)
    kafka.wait_for_open_port(9092)
    start_all()
    for machine in [one, two]:
        for port in [8080, 8081, 8082, 8084]:
            machine.wait_until_succeeds(f"curl -sSf -m 5 localhost:{port}/health/ready", timeout=180)
    gateway.wait_for_unit("shop-gateway.service")
    wait_healthy(2)
    keeper = two

    with subtest("somebody buys"):
        product = stock(gateway, shop, 1000)
        buy(gateway, shop, "ada", product)
        wait_settled(gateway, shop, "ada", product, 2)
    sold = 2

    with subtest("once the gateway knows that a machine is cut off nobody is refused"):
        two.block()
        wait_healthy(1)
        for _ in range(20):
            gateway.succeed(f"curl -sSf -m 20 {shop}/api/products/{product}")
        for user in ["bob", "carol", "dave"]:
            buy(gateway, shop, user, product)
            sold += 2

    with subtest("it comes back and is given calls again"):
        two.unblock()
        wait_healthy(2)
        for user in ["eve", "frank", "grace"]:
            buy(gateway, shop, user, product)
            sold += 2
        wait_settled(gateway, shop, "grace", product, sold)

    with subtest("without Kafka payments go on, and the news arrive afterwards"):
        kafka.block()
        for user in ["heidi", "ivan"]:
            buy(gateway, shop, user, product)
            sold += 2
        kafka.unblock()
        wait_settled(gateway, shop, "ivan", product, sold)

    with subtest("a machine without power loses nothing"):
        one.crash()
        wait_healthy(1)
        buy(gateway, shop, "judy", product)
        sold += 2
        one.start()
        wait_healthy(2)
        wait_settled(gateway, shop, "judy", product, sold)

    with subtest("nothing was sold twice"):
        seen = call(gateway, f"{shop}/api/products/{product}")
        assert (seen["units_sold"], seen["stock_quantity"]) == (sold, 1000 - sold), seen

    with subtest("everybody was told, once"):
        for user in ["ada", "bob", "carol", "dave", "eve", "frank", "grace", "heidi", "ivan", "judy"]:
            wait_told(gateway, shop, user)
  '';
}
