# `services.shop`: each service of the shop as a hardened systemd unit, and the local servers they need.
{ self }:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  services = import ../nix/services.nix;
  context = {
    inherit
      config
      lib
      pkgs
      self
      services
      ;
    cfg = config.services.shop;
    format = pkgs.formats.toml { };
  };
in
{
  imports = [
    ./backends.nix
    ./identity.nix
    ./ports.nix
  ];

  options.services.shop = lib.mapAttrs (
    name: service: import ./options.nix (context // { inherit name service; })
  ) services;

  config = lib.mkMerge (
    [
      {
        assertions =
          let
            enabled = lib.filter (name: config.services.shop.${name}.enable) (lib.attrNames services);
            whole = lib.filter (name: services.${name}.embedded or false) enabled;
          in
          [
            {
              assertion = whole == [ ] || lib.length enabled == 1;
              message = "services.shop.all-in-one runs every service itself, on the same ports: enable it or the others, not both.";
            }
          ];
      }
    ]
    ++ lib.mapAttrsToList (
      name: service:
      lib.mkIf config.services.shop.${name}.enable (
        import ./unit.nix (context // { inherit name service; })
      )
    ) services
  );
}
