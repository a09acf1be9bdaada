# Everything on one machine, with the local servers that the module sets up: somebody buys, servers and services die, the machine
# is started anew.
{ self }:
{
  name = "shop-suite";

  nodes.machine =
    { pkgs, ... }:
    {
      imports = [ self.nixosModules.default ];
      virtualisation = {
        cores = 2;
        memorySize = 4096;
        diskSize = 4096;
      };
      environment.systemPackages = [
        pkgs.curl
        pkgs.jq
      ];
      services.shop = {
        gateway = {
          enable = true;
          # The test asks more often than a person would.
          settings.rate_limit.enabled = false;
        };
        product.enable = true;
        basket.enable = true;
        payment.enable = true;
        notification.enable = true;
        backends = {
          postgresql.enable = true;
          mariadb.enable = true;
          redis.enable = true;
          kafka.enable = true;
        };
      };
      specialisation.limited.configuration.services.shop.gateway.settings.services.payment.enabled =
        false;
    };

  testScript = builtins.readFile ./shop.py + ''
    gateway = "http://localhost:8083"
    services = ["gateway", "product", "basket", "payment", "notification"]
    servers = ["postgresql", "mysql", "redis-shop", "apache-kafka"]


    def wait_for_all():
        for unit in servers + [f"shop-{service}" for service in services]:
            machine.wait_for_unit(f"{unit}.service")
        for port in [8080, 8081, 8082, 8083, 8084]:
            machine.wait_until_succeeds(f"curl -sSf -m 5 localhost:{port}/health/ready", timeout=120)


    machine.start()
    wait_for_all()
    keeper = machine

    with subtest("strangers change nothing, through the gateway or past it"):
        for address in [f"{gateway}/api/products", "http://localhost:8080/products"]:
            machine.succeed(f"curl -s -m 20 --json '{{}}' {address} | grep token_missing")

    with subtest("the shop's own key is for those that sign"):
        machine.succeed("test $(stat -c %a /var/lib/shop-identity/key.pem) = 600")
        machine.fail("su nobody -s /bin/sh -c 'shop-token --user mallory --role operator'")

    with subtest("somebody buys"):
        product = stock(machine, gateway, 100)
        buy(machine, gateway, "ada", product)
        wait_settled(machine, gateway, "ada", product, 2)
        wait_told(machine, gateway, "ada")

    with subtest("services listen on this machine only, as long as nothing is opened"):
        for port in [8080, 8081, 8082, 8083, 8084, 9083, 50050, 50051, 50052, 50053, 5432, 3306, 6379, 9092]:
            machine.fail(f"ss -Hltn 'sport = :{port}' | grep -vE '127\\.0\\.0\\.1|\\[::1\\]|\\[::ffff:127\\.0\\.0\\.1\\]'")

    with subtest("no service may do more than it needs"):
        for service in services:
            machine.succeed(f"systemd-analyze security --no-pager --threshold=15 shop-{service}.service")
            machine.succeed(f"test $(ps -o user= -p $(systemctl show -P MainPID shop-{service})) != root")

    with subtest("the password of Redis is nobody's to read"):
        machine.succeed("test $(stat -c %a /var/lib/shop-redis/password) = 600")
        machine.fail("grep -rF $(cat /var/lib/shop-redis/password) /etc/shop /etc/systemd/system")
        machine.fail("redis-cli -h 127.0.0.1 ping | grep PONG")

    with subtest("a server that dies takes nobody along"):
        for server in servers:
            machine.succeed(f"systemctl kill -s KILL {server}.service || true", f"systemctl restart {server}.service")
        wait_for_all()
        machine.wait_until_succeeds(f"curl -sSf -m 20 {bearer('ada')} {gateway}/api/baskets/ada", timeout=60)
        buy(machine, gateway, "bob", product)
        wait_settled(machine, gateway, "bob", product, 4)
        wait_told(machine, gateway, "bob")

    with subtest("a service that dies comes back"):
        for service in services:
            machine.succeed(f"systemctl kill -s KILL shop-{service}.service")
            machine.wait_until_succeeds(f"test $(systemctl show -P NRestarts shop-{service}) -ge 1")
        wait_for_all()
        machine.wait_until_succeeds(f"curl -sSf -m 20 {gateway}/api/products/{product}", timeout=60)

    with subtest("other settings of the gateway need no restart"):
        before = machine.succeed("systemctl show -P MainPID shop-gateway")
        machine.succeed("/run/booted-system/specialisation/limited/bin/switch-to-configuration test")
        machine.wait_until_succeeds(f"curl -s -m 5 {bearer('ada')} {gateway}/api/payments | grep service_disabled", timeout=30)
        assert before == machine.succeed("systemctl show -P MainPID shop-gateway")
        machine.succeed("/run/booted-system/bin/switch-to-configuration test")
        machine.wait_until_fails(f"curl -s -m 5 {bearer('ada')} {gateway}/api/payments | grep service_disabled", timeout=30)

    with subtest("everything is still there after a restart of the machine"):
        call(machine, f"{gateway}/api/baskets/eve/items", {"product_id": product, "quantity": 1}, bearer("eve"))
        machine.shutdown()
        machine.start()
        wait_for_all()
        machine.wait_until_succeeds(f"curl -sSf -m 20 {bearer('eve')} {gateway}/api/baskets/eve | jq -e '.items | length == 1'", timeout=60)
        assert call(machine, f"{gateway}/api/products/{product}")["units_sold"] == 4
        buy(machine, gateway, "eve", product)

    with subtest("services stop in time and cleanly"):
        for service in services:
            machine.succeed(f"systemctl stop shop-{service}.service")
            machine.succeed(f"test $(systemctl show -P Result shop-{service}) = success")
  '';
}
