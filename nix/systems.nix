# Systems to evaluate: `everything` on one machine, `nothing` enabled, each service alone, and the one in docs/nixos.md.
{ self, nixpkgs }:
let
  inherit (nixpkgs) lib;
  services = import ./services.nix;
  backends = [
    "postgresql"
    "mariadb"
    "redis"
    "kafka"
  ];
  system =
    shop:
    lib.nixosSystem {
      modules = [
        self.nixosModules.default
        {
          nixpkgs.hostPlatform = "x86_64-linux";
          system.stateVersion = "26.05";
          boot.loader.grub.enable = false;
          fileSystems."/" = {
            device = "none";
            fsType = "tmpfs";
          };
          services.shop = shop;
        }
      ];
    };
  alone = lib.mapAttrs' (
    name: _:
    lib.nameValuePair "only-${name}" (system {
      ${name}.enable = true;
    })
  ) services;

  # The first Nix block of the page, as a person would paste it.
  page = builtins.readFile ../docs/nixos.md;
  block = lib.head (lib.splitString "\n```\n" (lib.elemAt (lib.splitString "\n```nix\n" page) 1));
  pasted = import (builtins.toFile "flake.nix" block);
in
alone
// {
  documented =
    (pasted.outputs {
      inherit nixpkgs;
      shop = self;
    }).nixosConfigurations.shop;
  nothing = system { };
  everything = system (
    lib.genAttrs (lib.attrNames (lib.filterAttrs (_: service: !(service.embedded or false)) services))
      (_: {
        enable = true;
      })
    // {
      backends = lib.genAttrs backends (_: {
        enable = true;
      });
    }
  );
}
