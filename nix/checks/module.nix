# The NixOS module: its units are sound and shut in, its defaults are the programs' own, wrong settings and secrets in the
# store are refused.
{ pkgs, self }:
let
  inherit (pkgs) lib shopPackages;
  inherit (shopPackages) binaries services;
  systems = self.nixosConfigurations;

  unitOf = system: name: system.config.systemd.units."shop-${name}.service".unit;
  units =
    lib.mapAttrsToList (name: _: unitOf systems."only-${name}" name) services
    ++ lib.mapAttrsToList (name: _: unitOf systems.everything name) (
      lib.filterAttrs (_: service: !(service.embedded or false)) services
    );

  # A system like `nothing`, with these settings of services.shop.
  with' = shop: systems.nothing.extendModules { modules = [ { services.shop = shop; } ]; };
  complaints =
    shop: map (one: one.message) (lib.filter (one: !one.assertion) (with' shop).config.assertions);

  # What must be refused while evaluating, and what the message has to name.
  refused = {
    "services.shop.product.credentials.DB_PASSWORD" = {
      product = {
        enable = true;
        credentials.DB_PASSWORD = "${builtins.storeDir}/0123-password";
      };
    };
    "services.shop.gateway.environmentFile" = {
      gateway = {
        enable = true;
        environmentFile = ../services.nix;
      };
    };
    "services.shop.product.settings.database.password" = {
      product = {
        enable = true;
        settings.database.password = "hunter2";
      };
    };
    "services.shop.basket.settings.redis.url" = {
      basket = {
        enable = true;
        settings.redis.url = "redis://:hunter2@redis.example:6379/0";
      };
    };
    "services.shop.gateway.settings.rate_limit.redis.url" = {
      gateway = {
        enable = true;
        settings.rate_limit.redis.url = "redis-sentinel://:hunter2@a,b/shop";
      };
    };
    "services.shop.payment.settings.database.url" = {
      payment = {
        enable = true;
        settings.database.url = "mysql://db.example/shop?user=shop&password=hunter2";
      };
    };
    "services.shop.notification.settings.email.smtp_url" = {
      notification = {
        enable = true;
        settings.email.smtp_url = "smtps://shop:hunter2@mail.example";
      };
    };
    "services.shop.notification.settings.webhook.secret" = {
      notification = {
        enable = true;
        settings.webhook.secret = "whsec_hunter2";
      };
    };
    "services.shop.all-in-one" = {
      all-in-one.enable = true;
      gateway.enable = true;
    };
    "services.shop.basket.credentials.IDENTITY_KEY" = {
      basket.enable = true;
      identity.keyFile = "${builtins.storeDir}/0123-key";
    };
    "services.shop.identity.trustedFile" = {
      payment.enable = true;
      identity.trustedFile = "/run/keys/shop.pub";
    };
    "services.shop.gateway.settings.identity.secret" = {
      gateway.enable = true;
      identity.settings.secret = "hunter2";
    };
    "services.shop.gateway.settings.admin.token" = {
      gateway = {
        enable = true;
        settings.admin.token = "hunter2";
      };
    };
  };
  accepted = {
    product = {
      enable = true;
      credentials.DB_PASSWORD = "/run/keys/db";
      environmentFile = "/run/keys/product.env";
      settings.database = {
        host = "db.example";
        url = "postgres://shop@db.example/shop";
      };
    };
  };
  missing = lib.filter (name: !lib.any (lib.hasPrefix "${name} ") (complaints refused.${name})) (
    lib.attrNames refused
  );

  # Which ports a machine opens, and whether the service may take one below 1024.
  opened = shop: (with' shop).config.networking.firewall.allowedTCPPorts;
  privileged =
    name: shop:
    (with' shop).config.systemd.services."shop-${name}".serviceConfig.AmbientCapabilities or null
    == "CAP_NET_BIND_SERVICE";
  certificate = {
    TLS_CERT = "/run/keys/cert.pem";
    TLS_KEY = "/run/keys/key.pem";
  };
  gateway = own: {
    gateway = {
      enable = true;
      openFirewall = true;
    }
    // own;
  };
  tls =
    settings:
    gateway {
      settings.tls = {
        cert_file = "/cert.pem";
      }
      // settings;
    };

  # What a service finds of the suite's own key, and whether that is made here.
  keysOf = name: shop: lib.attrNames (with' shop).config.services.shop.${name}.credentials;
  makesKey = shop: (with' shop).config.systemd.services ? shop-identity-key;
  verifying = {
    gateway.enable = true;
    identity.trustedFile = "/run/keys/shop.pub";
  };
  off = {
    basket.enable = true;
    identity.settings.mode = "off";
  };

  # Which ports the kernel gives to no outgoing connection.
  reserved = shop: (with' shop).config.boot.kernel.sysctl."net.ipv4.ip_local_reserved_ports" or null;

  # Whether the gateway's settings are evaluated at all.
  takes =
    settings:
    let
      own = (with' { gateway.settings = settings; }).config.services.shop.gateway.settings;
    in
    (builtins.tryEval (builtins.deepSeq own true)).success;

  # What must be restarted for, and what must not.
  restarts =
    shop:
    let
      trigger =
        settings:
        (with' (gateway {
          inherit settings;
        })).config.systemd.services.shop-gateway.restartTriggers;
    in
    trigger { } != trigger shop;

  holds = {
    "the firewall stays shut" = opened { gateway.enable = true; } == [ ];
    "cleartext alone is opened without a certificate" = opened (gateway { }) == [ 8083 ];
    "TLS is opened with a certificate" =
      opened (tls { }) == [
        8083
        8443
      ];
    "TLS is opened with a credential" =
      opened (gateway {
        credentials = certificate;
      }) == [
        8083
        8443
      ];
    "TLS is opened on the port that is set" =
      opened (tls {
        port = 443;
      }) == [
        443
        8083
      ];
    "TLS of all-in-one is opened" =
      opened {
        all-in-one = {
          enable = true;
          openFirewall = true;
          settings.gateway.tls.cert_file = "/cert.pem";
        };
      } == [
        8083
        8443
      ];
    "a port below 1024 needs a right" = privileged "gateway" (tls {
      port = 443;
    });
    "others need none" = !privileged "gateway" (tls { });
    "a port of TLS without a certificate needs none" =
      !privileged "gateway" (gateway {
        settings.tls.port = 443;
      });
    "listeners are opened" =
      opened (gateway {
        settings.listeners.edge.address = "[::]:8090";
      }) == [
        8083
        8090
      ];
    "routes, services and listeners have the program's keys" = takes {
      listeners.edge = {
        address = "[::]:8443";
        tls.certificates = [
          {
            cert_file = "/cert.pem";
            key_file = "/key.pem";
          }
        ];
      };
      routes.search = {
        path = "/search/*";
        to = "search";
        access.require = "token";
      };
      services.search.urls = "http://search:9200";
      services.product.timeouts.first_byte = "2s";
    };
    "no route has others" = !takes { routes.search.pth = "/search"; };
    "no route has values that there are not" = !takes { routes.search.access.require = "tokn"; };
    "no service has others" = !takes { services.search.tls.ca = "/ca.pem"; };
    "none of the suite has others" = !takes { services.product.timeouts.frist_byte = "2s"; };
    "no listener has others" = !takes { listeners.edge.adress = "[::]:8443"; };
    "the ports of enabled services are reserved" =
      reserved {
        product.enable = true;
        payment = {
          enable = true;
          settings.http.port = 9000;
        };
      } == "8080,9000,50050,50052";
    "all ports of all-in-one are reserved" =
      reserved { all-in-one.enable = true; }
      == "8080,8081,8082,8083,8084,8443,9083,50050,50051,50052,50053";
    "no port is reserved where nothing is enabled" = reserved { } == null;
    "no port is reserved where nobody wants it" =
      reserved {
        reservePorts = false;
        product.enable = true;
      } == null;
    "a key is made where nobody names one" = makesKey { product.enable = true; };
    "those that sign have the key" =
      keysOf "basket" { basket.enable = true; } == [
        "IDENTITY_KEY"
        "IDENTITY_TRUSTED"
      ];
    "others have what they check with" =
      keysOf "notification" { notification.enable = true; } == [ "IDENTITY_TRUSTED" ];
    "a gateway by itself needs no key" =
      !makesKey verifying && keysOf "gateway" verifying == [ "IDENTITY_TRUSTED" ];
    "nobody has a key where nobody asks who calls" = !makesKey off && keysOf "basket" off == [ ];
    "what is said of identity once is every service's" =
      (with' {
        gateway.enable = true;
        product.enable = true;
        product.settings.identity.leeway = "5s";
        identity.settings = {
          issuer = "https://id.example";
          audience = "shop";
          leeway = "30s";
        };
      }).config.services.shop.product.settings.identity == {
        mode = "required";
        issuer = "https://id.example";
        audience = "shop";
        leeway = "5s";
      };
    "another certificate needs a restart" = restarts { tls.cert_file = "/other.pem"; };
    "another file for the admin API's changes needs a restart" = restarts {
      admin.state_file = "changes";
    };
    "a redirect needs none" = !restarts { tls.redirect = true; };
    "another limit needs none" = !restarts { rate_limit.requests = 7; };
  };
  broken = lib.attrNames (lib.filterAttrs (_: isTrue: !isTrue) holds);

  # The key that belongs to the endpoint is known only on the machine.
  signed =
    (with' {
      notification = {
        enable = true;
        settings.webhook.url = "https://hooks.example/shop";
        credentials.WEBHOOK_SECRET = "/run/keys/webhook";
      };
    }).config.services.shop.notification.settingsFile;

  # What docs/nixos.md shows of settings, each piece on a machine of its own, as the programs judge it.
  blocks = map (rest: lib.trim (lib.head (lib.splitString "```" rest))) (
    lib.tail (lib.splitString "```nix\n" (builtins.readFile ../../docs/nixos.md))
  );
  shown = map (text: import (builtins.toFile "shown.nix" "{ ${text} }")) (
    lib.filter (lib.hasPrefix "services.shop.") blocks
  );
  judged =
    piece:
    let
      names = lib.filter (name: services ? ${name}) (lib.attrNames piece.services.shop);
      enabled.services.shop = lib.genAttrs names (_: {
        enable = true;
      });
      system = systems.nothing.extendModules {
        modules = [
          piece
          enabled
        ];
      };
    in
    map (name: system.config.services.shop.${name}.settingsFile) names;

  wrong =
    (with' {
      gateway = {
        enable = true;
        settings.http.prot = 80;
        settings.load_balancer.strategy = "roundrobin";
      };
    }).config.services.shop.gateway.settingsFile;
in
{
  module-units =
    pkgs.runCommand "check-module-units"
      {
        nativeBuildInputs = [ pkgs.systemd ];
        inherit units;
      }
      ''
        # As for a user's own units, since the other way wants to write to /run.
        export XDG_RUNTIME_DIR=$PWD HOME=$PWD SYSTEMD_LOG_TARGET=console
        for folder in $units; do
          export SYSTEMD_UNIT_PATH=$folder:
          for unit in "$folder"/*.service; do
            echo "== $unit"
            systemd-analyze --user verify --man=no --recursive-errors=no "$unit"
            systemd-analyze --user security --offline=true --no-pager --threshold=15 "$unit" >report || { cat report; exit 1; }
            tail -n 1 report | tee -a $out
          done
        done
      '';

  module-secrets =
    assert lib.assertMsg (missing == [ ]) "not refused: ${toString missing}";
    assert lib.assertMsg (complaints accepted == [ ]) "refused: ${toString (complaints accepted)}";
    pkgs.runCommand "check-module-secrets" { inherit signed; } ''
      grep -F hooks.example "$signed"
      if grep -F whsec_ "$signed"; then exit 1; fi
      touch $out
    '';

  module-examples =
    assert lib.assertMsg (lib.length shown > 5) "docs/nixos.md shows no settings";
    pkgs.runCommand "check-module-examples" { settings = lib.concatMap judged shown; } "touch $out";

  module-ports =
    assert lib.assertMsg (broken == [ ]) "does not hold: ${lib.concatStringsSep "; " broken}";
    pkgs.runCommand "check-module-ports" { } "touch $out";

  # The program's own words, in the log of the build.
  module-wrong-settings =
    pkgs.runCommand "check-module-wrong-settings" { failed = pkgs.testers.testBuildFailure wrong; }
      ''
        grep -F 'http.prot' "$failed/testBuildFailure.log"
        grep -F 'load_balancer.strategy' "$failed/testBuildFailure.log"
        touch $out
      '';

  # The ports in nix/services.nix, from which the module finds neighbours and opens the firewall.
  module-defaults = pkgs.runCommand "check-module-defaults" { } (
    # Nobody has said whose tokens are good.
    "export IDENTITY_MODE=off\n"
    + lib.concatStrings (
      lib.mapAttrsToList (
        name: service:
        let
          prefix = lib.concatMapStrings (part: "${part}.") (service.gatewayAt or [ ]);
          expect = key: value: ''
            ${lib.getExe binaries.${name}} --explain | grep -E '^${lib.escapeRegex "${prefix}${key}"} += ${toString value} '
          '';
        in
        expect "http.port" service.http
        + lib.optionalString (service ? gatewayAt) (expect "admin.port" 9083)
        + lib.optionalString (service ? grpc) (expect "grpc.port" service.grpc)
      ) services
    )
    + "touch $out"
  );
}
