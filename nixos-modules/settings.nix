# The keys of a service's settings that the module knows by type. Where one is null the program's own default holds.
{
  cfg,
  format,
  lib,
  name,
  service,
  services,
  ...
}:
let
  inherit (lib) mkOption types;
  own = cfg.${name};
  default =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      description = "${description} The program's own default when null.";
    };
  host = mkOption {
    type = types.str;
    default = if own.openFirewall then "0.0.0.0" else "127.0.0.1";
    defaultText = lib.literalExpression ''if openFirewall then "0.0.0.0" else "127.0.0.1"'';
    description = "Address to listen on. `::` takes IPv6 and IPv4.";
  };
  listener = kind: port: {
    inherit host;
    port = mkOption {
      type = types.port;
      default = port;
      description = "Port of the ${kind} server.";
    };
  };
  http = listener "HTTP" service.http;
  tls = {
    cert_file = default types.str "PEM file with the certificate and its chain, readable by the service, and so the beginning of TLS; for one that root alone can read there is `credentials`, see nixos.md.";
    key_file = default types.str "PEM file with the certificate's key.";
    port = mkOption {
      type = types.port;
      default = 8443;
      description = "Port for HTTPS and gRPC over TLS, on the address of `http.host`. Opened in the firewall only when there is a certificate.";
    };
  };
  admin = {
    host = mkOption {
      type = types.str;
      default = "127.0.0.1";
      description = "Address for operators: metrics, detailed health and the admin API. Never opened in the firewall.";
    };
    port = mkOption {
      type = types.port;
      default = 9083;
      description = "Port for operators.";
    };
    on_client_port = mkOption {
      type = types.bool;
      default = false;
      description = "Whether the same is answered on the port of clients to this machine itself. Off, because a proxy on this machine that adds no header cannot be told from that.";
    };
  };
  typed = import ./schema.nix { inherit format lib; };
  named =
    what: type:
    mkOption {
      inherit type;
      default = { };
      description = "${what}; [gateway-settings.md](gateway-settings.md) has every key.";
    };
  called = {
    # In a list each has its `name`.
    listeners = named "Listeners for clients beside `http` and `tls`, by name" (
      types.either (types.listOf format.type) (typed "listeners")
    );
    routes = named "Routes by name, beside the suite's" (typed "routes");
  };
  # What the gateway calls in the same process.
  parts = lib.mapAttrs (
    _: part:
    lib.genAttrs
      (lib.filter (protocol: part ? ${protocol}) [
        "http"
        "grpc"
      ])
      (_: {
        host = mkOption {
          type = types.str;
          default = "127.0.0.1";
          description = "Address to listen on; clients come through the gateway.";
        };
      })
  ) behind;

  common = {
    log.level = default types.str "`error`, `warn`, `info`, `debug`, `trace`, or a list such as `info,sqlx=debug`.";
    log.format = mkOption {
      type = types.enum [
        "json"
        "text"
        "auto"
      ];
      default = "json";
      description = "How a log line looks. JSON, because the journal keeps it for machines.";
    };
    stop.grace = default types.str "How long running requests may take once the service is told to stop, such as `25s`. After 90 s systemd kills.";
    otel = {
      endpoint = default types.str "Where to send traces (OTLP over gRPC), such as `http://127.0.0.1:4317`; `https://` is TLS.";
      ca_file = default types.str "PEM file with the authorities of the collector's certificate; the public ones otherwise.";
      cert_file = default types.str "PEM file with the certificate that the collector is shown, readable by the service.";
      key_file = default types.str "PEM file with its key.";
      sampler =
        default
          (types.enum [
            "always_on"
            "always_off"
            "traceidratio"
            "parentbased_always_on"
            "parentbased_always_off"
            "parentbased_traceidratio"
          ])
          "Which traces are recorded, as `OTEL_TRACES_SAMPLER` names it. A gateway that strangers reach wants `traceidratio`, which does not heed its callers.";
      sample_ratio = default (types.numbers.between 0 1) "Share of new traces that the samplers by ratio record (`OTEL_TRACES_SAMPLER_ARG`), such as `0.01`.";
    };
  };

  stores = {
    postgresql.database = sql "PostgreSQL";
    mariadb.database = sql "MariaDB";
    redis.redis = {
      host = default types.str "Host of the Redis server.";
      port = default types.port "Port of the Redis server.";
      user = default types.str "User to log in as.";
      db = default types.ints.unsigned "Number of the Redis database.";
      url = default types.str "`redis://…`, `redis-sentinel://a:26379,b,c/master`, `redis-cluster://a,b,c` (each with `rediss` for TLS) or `sqlite://PATH`, instead of the parts. Without a password; that is in `credentials.REDIS_PASSWORD`, or all of it in `credentials.REDIS_URL`.";
      wait_replicas = default types.ints.unsigned "Replicas that must have a change of a basket before it is acknowledged.";
      ca_file = default types.str "PEM file with the authorities whose certificates are good; those of the system otherwise.";
      cert_file = default types.str "PEM file with the certificate that is shown to Redis.";
      key_file = default types.str "PEM file with its key.";
    };
  };
  sql = engine: {
    host = default types.str "Host of the ${engine} server; of several, with commas, the one that writes is used.";
    port = default types.port "Port of the ${engine} server.";
    user = default types.str "User to log in as; the password goes into `credentials.DB_PASSWORD`.";
    name = default types.str "Name of the database.";
    ssl_mode = default (types.enum [
      "disable"
      "prefer"
      "require"
      "verify-full"
    ]) "Whether the connection is encrypted; `verify-full` alone looks at the server's certificate.";
    ca_file = default types.str "Authorities of the server's certificate (PEM), beside the public ones. With `ssl_mode = \"verify-full\"`.";
    cert_file = default types.str "Certificate to show to the server (PEM).";
    key_file = default types.str "Private key of that certificate; a file that the service may read, outside of the Nix store.";
    pool.max = default types.ints.positive "Most connections at once.";
    url = default types.str "URL of the server, or `sqlite://PATH`, instead of the parts. Without a password; that is what `credentials.DATABASE_URL` is for.";
    direct_url = default types.str "The server itself, where the others lead to a pooler: migrations run there. What it does not say, such as user, password and database, is as there. With a password of its own it goes into `credentials.DATABASE_DIRECT_URL`.";
  };

  # How a service, its callers and its neighbours know each other.
  between = {
    tls = {
      cert_file = default types.str "PEM file with the certificate and its chain, readable by the service: with it HTTP and gRPC are served over TLS. Neighbours that ask for one are shown it, too.";
      key_file = default types.str "PEM file with the certificate's key; for one that root alone can read there is `credentials`, see nixos.md.";
      ca_file = default types.str "PEM file with the authorities of neighbours' certificates; the public ones otherwise.";
      client_ca_file = default types.str "PEM file with the authorities of certificates that callers have to show (mTLS).";
      client_names = default (types.listOf types.str) "Whom callers' certificates have to be for: hosts' names, or such as `spiffe://shop/ns/default/sa/gateway`.";
    };
    operations.port = default types.port "Port for probes and metrics in cleartext, on 127.0.0.1. Never opened in the firewall.";
  };

  # A service on this machine is found by itself.
  neighbours = lib.genAttrs (service.calls or [ ]) (other: {
    url = mkOption {
      type = types.nullOr types.str;
      default =
        if cfg.${other}.enable then "localhost:${toString cfg.${other}.settings.grpc.port}" else null;
      defaultText = lib.literalMD "its gRPC port on this machine, if it is enabled here";
      description = "Host and gRPC port of the ${services.${other}.about}; `https://` in front is TLS. The program's own default when null.";
    };
    server_name = default types.str "Whom its certificate has to be for, instead of the host: another name, or such as `spiffe://shop/ns/default/sa/${other}`.";
  });

  behind = lib.filterAttrs (_: other: other ? section) services;
  backends = {
    services = named "Services by name, the suite's and others" (
      types.submodule {
        freeformType = typed "services";
        options = suite;
      }
    );
    docs.enabled = default types.bool "Whether `/docs` and `/openapi.json` describe the whole API.";
    trusted_proxies = default (types.listOf types.str) "Addresses of proxies in front, whose word on the client's address counts.";
    workers = default types.ints.unsigned "Threads that serve; 0 is one per core.";
  };
  suite = lib.mapAttrs' (
    other: at:
    lib.nameValuePair at.section {
      enabled = mkOption {
        type = types.bool;
        default = cfg.${other}.enable;
        defaultText = lib.literalMD "whether it is enabled on this machine";
        description = "Whether the gateway serves the ${at.about}. Set it, with `urls`, for one on another machine.";
      };
      urls = urls other "http" "HTTP";
      grpc_urls = urls other "grpc" "gRPC";
    }
  ) behind;
  # Who moves the money.
  provider = {
    sandbox = default types.bool "Whether the sandbox, which moves no real money, takes payments.";
    stripe.return_url = default types.str "Page to which payers come back when their bank has asked them; `{payment}` in it becomes the payment's id. Stripe's key goes into `credentials.STRIPE_SECRET_KEY`, what its webhooks are signed with into `credentials.STRIPE_WEBHOOK_SECRETS`.";
  };
  # How the notification service tells people and programs.
  channels = {
    email = {
      ca_file = default types.str "PEM file with the authorities of the mail server's certificate, instead of the public ones.";
      from = default types.str "Who e-mails are from, such as `Shop <orders@shop.example>`. The mail server goes into `credentials.SMTP_URL`, because its URL has a password; no e-mail is sent without.";
      templates = default types.str "Folder with texts of your own, by the names of the built-in ones.";
    };
    webhook.url = default types.str "Endpoint that gets every event, beside those added over the API. The key it is signed with goes into `credentials.WEBHOOK_SECRET`.";
  };
  urls =
    other: protocol: word:
    mkOption {
      type = types.nullOr (types.listOf types.str);
      default =
        if
          cfg.${other}.enable
          && cfg.${other}.settings ? ${protocol}
          && !lib.elem protocol (services.${other}.inside or [ ])
        then
          [ "http://localhost:${toString cfg.${other}.settings.${protocol}.port}" ]
        else
          null;
      defaultText = lib.literalMD "its port on this machine, if it is enabled here";
      description = "Where its ${word} API is: `http://host:port`, optionally with `;weight=N`. The program's own default when null.";
    };
in
if service.embedded or false then
  common
  // parts
  // {
    gateway = {
      inherit admin http tls;
      inherit (called) listeners routes;
      services = named "Services by name, beside those in this process" (typed "services");
    };
    notification = parts.notification // channels;
    data = default types.str "Folder of the embedded stores and of dead letters, seen from `/var/lib/shop-${name}`.";
    demo = default types.bool "Whether an empty catalogue gets ten demo products.";
  }
else
  common
  // {
    inherit http;
  }
  // lib.optionalAttrs (service ? grpc) ({ grpc = listener "gRPC" service.grpc; } // between)
  // lib.optionalAttrs service.kafka {
    kafka = {
      brokers = default (types.listOf types.str) "Kafka's brokers, as `host:port`.";
      security_protocol = default (types.enum [
        "plaintext"
        "ssl"
        "sasl_plaintext"
        "sasl_ssl"
      ]) "What their listeners speak.";
      tls.ca_file = default types.str "PEM file with the authorities of their certificates, readable by the service. Without it those that this machine knows.";
      tls.cert_file = default types.str "PEM file with a certificate to show to them, readable by the service.";
      tls.key_file = default types.str "PEM file with its key; for one that root alone can read there is `credentials`, see nixos.md.";
      sasl.mechanism = default (types.enum [
        "PLAIN"
        "SCRAM-SHA-256"
        "SCRAM-SHA-512"
        "OAUTHBEARER"
      ]) "How to log in.";
      sasl.username = default types.str "User to log in as; the password goes into `credentials.KAFKA_SASL_PASSWORD`.";
      sasl.oauth = {
        token_url = default types.str "Where tokens are given, with the mechanism `OAUTHBEARER`: a provider's token endpoint.";
        client_id = default types.str "Who asks for them there; the client's secret goes into `credentials.KAFKA_SASL_OAUTH_CLIENT_SECRET`.";
        scope = default types.str "What to ask for, words with spaces between.";
        audience = default types.str "Whom the tokens are to be for, with providers that want to be told.";
        ca_file = default types.str "PEM file with the authorities of that endpoint's certificate, readable by the service.";
        token_file = default types.str "A file with the token itself instead, readable by the service, which somebody else keeps fresh.";
      };
      group_protocol = default (types.enum [
        "classic"
        "consumer"
      ]) "Who shares out partitions: the consumers, or the brokers, from Kafka 4.0 on.";
      group_instance_id = default types.str "Name of this process that its consumer groups keep over a restart. No two processes may have the same.";
    };
  }
  // lib.optionalAttrs (name == "notification") channels
  // lib.optionalAttrs (name == "payment") { inherit provider; }
  // lib.optionalAttrs (name == "gateway") (backends // called // { inherit admin tls; })
  // stores.${service.store or ""} or { }
  // neighbours
