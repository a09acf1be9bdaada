# The ports that connections of this machine should keep off: those of the enabled services.
{
  config,
  lib,
  ...
}:
let
  cfg = config.services.shop;
  services = import ../nix/services.nix;
  listenerPorts = import ./listener-ports.nix { inherit lib; };
  protocols = [
    "http"
    "grpc"
  ];
  # Where a service's own settings say nothing, the program's defaults hold.
  listening =
    settings: service:
    map (protocol: lib.attrByPath [ protocol "port" ] service.${protocol} settings) (
      lib.filter (protocol: service ? ${protocol}) protocols
    )
    ++ lib.filter (port: port != null) [ (lib.attrByPath [ "operations" "port" ] null settings) ];
  behind = lib.filterAttrs (_: service: service ? section) services;
  of =
    name: service:
    let
      inherit (cfg.${name}) settings;
      gateway = if service.embedded or false then settings.gateway else settings;
    in
    listening gateway service
    ++ lib.optionals (service ? gatewayAt) [
      gateway.tls.port
      gateway.admin.port
    ]
    ++ lib.optionals (service ? gatewayAt) (listenerPorts gateway)
    ++ lib.optionals (service.embedded or false) (
      lib.concatLists (lib.mapAttrsToList (part: listening (settings.${part} or { })) behind)
    );
  enabled = lib.filterAttrs (name: _: cfg.${name}.enable) services;
  ports = lib.unique (
    lib.sort lib.lessThan (
      lib.filter (port: port != 0) (lib.concatLists (lib.mapAttrsToList of enabled))
    )
  );
in
{
  options.services.shop.reservePorts = lib.mkOption {
    type = lib.types.bool;
    default = true;
    description = ''
      Whether the kernel keeps the ports of the enabled services (`net.ipv4.ip_local_reserved_ports`) when it chooses one
      for an outgoing connection. Otherwise any connection may have got a service's port just when that starts, which then
      waits for it. If you set `boot.kernel.sysctl."net.ipv4.ip_local_reserved_ports"` yourself, that is used instead:
      name these ports there too.
    '';
  };

  config = lib.mkIf (cfg.reservePorts && ports != [ ]) {
    boot.kernel.sysctl."net.ipv4.ip_local_reserved_ports" = lib.mkDefault (
      lib.concatMapStringsSep "," toString ports
    );
  };
}
