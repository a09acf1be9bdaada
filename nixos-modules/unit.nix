# The configuration of one service that is enabled.
{
  cfg,
  lib,
  name,
  pkgs,
  service,
  ...
}:
let
  own = cfg.${name};
  unit = "shop-${name}";
  # The names a database server knows the service by, so that it can trust the name of the process's user.
  user = lib.replaceStrings [ "-" ] [ "_" ] unit;

  settings = import ./without-nulls.nix { inherit lib; } own.settings;
  # The part that the program takes over while it runs, and what even there holds until it is started anew.
  reloads = service ? gatewayAt;
  gateway = lib.attrByPath (service.gatewayAt or [ ]) { } settings;
  # `FIXED` of the gateway's code, which a test there compares with this; a dot at the end stands for all of a section.
  untilRestarted = [
    "admin.host"
    "admin.port"
    "admin.state_file"
    "host"
    "http.host"
    "http.port"
    "limits.h2_streams"
    "limits.head"
    "listeners."
    "log."
    "otel."
    "stop."
    "tls.cert_file"
    "tls.key_file"
    "tls.port"
    "tls.reload_interval"
    "workers"
  ];
  keep =
    key:
    let
      path = lib.splitString "." (lib.removeSuffix "." key);
    in
    lib.optionalAttrs (lib.hasAttrByPath path gateway) (
      lib.setAttrByPath path (lib.getAttrFromPath path gateway)
    );
  fixed = {
    rest = if service.gatewayAt or [ ] == [ ] then { } else removeAttrs settings service.gatewayAt;
    gateway = lib.foldl' lib.recursiveUpdate { } (map keep untilRestarted);
  };
  etc = "shop/${name}.toml";

  ports = [
    (gateway.http or settings.http).port
  ]
  ++ lib.optional (service ? grpc) settings.grpc.port
  # The certificate may come as a credential, so that the settings do not name it.
  ++ lib.optional (
    reloads
    && (gateway.tls ? cert_file || lib.any (lib.hasSuffix "TLS_CERT") (lib.attrNames own.credentials))
  ) gateway.tls.port
  ++ lib.optionals reloads (listenerPorts gateway);
  file = own.settingsFile;

  secrets = import ./secrets.nix { inherit lib; };
  listenerPorts = import ./listener-ports.nix { inherit lib; };
in
{
  assertions = secrets.assertions name own settings;

  environment.etc = lib.mkIf reloads { ${etc}.source = file; };

  networking.firewall.allowedTCPPorts = lib.mkIf own.openFirewall ports;

  systemd.services.${unit} = {
    description = "The shop's ${service.about}";
    wantedBy = [ "multi-user.target" ];
    wants = [ "network-online.target" ];
    after = [ "network-online.target" ];
    reloadTriggers = lib.mkIf reloads [ file ];
    restartTriggers = lib.mkIf reloads [ (builtins.toJSON fixed) ];
    # Ten failures in five minutes are no accident: stop, so that it is seen.
    startLimitIntervalSec = 300;
    startLimitBurst = 10;
    serviceConfig =
      import ./hardening.nix
      // lib.optionalAttrs (lib.any (port: port < 1024) ports) {
        # Ports that are otherwise root's; a capability counts for nothing in a user namespace of its own.
        AmbientCapabilities = "CAP_NET_BIND_SERVICE";
        CapabilityBoundingSet = "CAP_NET_BIND_SERVICE";
        PrivateUsers = false;
      }
      // {
        Type = "notify";
        ExecStart = "${lib.getExe own.package} --config ${if reloads then "/etc/${etc}" else file}";
        ExecReload = lib.mkIf reloads "${pkgs.runtimeShell} -c 'kill -HUP $MAINPID'";
        User = user;
        StateDirectory = unit;
        StateDirectoryMode = "0700";
        WorkingDirectory = "%S/${unit}";
        Environment = map (variable: "${variable}_FILE=%d/${variable}") (lib.attrNames own.credentials);
        LoadCredential = lib.mapAttrsToList (
          variable: path: "${variable}:${toString path}"
        ) own.credentials;
        EnvironmentFile = lib.mkIf (own.environmentFile != null) (toString own.environmentFile);
        # A program that waits for its ports, then for its store, gives up after a minute each by itself.
        TimeoutStartSec = 150;
        # Beyond `stop.grace`, 25 s unless set.
        TimeoutStopSec = 90;
        WatchdogSec = 30;
        Restart = "on-failure";
        RestartSec = 1;
        # Two file descriptors a call, and the idle ones.
        LimitNOFILE = 524288;
      };
  };
}
