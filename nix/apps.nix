# `nix run .#NAME`: each binary, and `dev`, the services on real servers.
{ pkgs }:
let
  inherit (pkgs) lib shopPackages;
  app = package: {
    type = "app";
    program = lib.getExe package;
    meta.description = package.meta.description;
  };
  binaries = lib.mapAttrs' (
    name: package: lib.nameValuePair shopPackages.services.${name}.binary (app package)
  ) shopPackages.binaries;
in
binaries
// {
  default = binaries.shop;
  dev = app shopPackages.dev;
}
