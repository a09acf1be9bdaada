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

  # What a person begins with; docs/nixos.md shows it.
  template = ./template/flake.nix;
  shown = lib.hasInfix "\n```nix\n${builtins.readFile template}```\n" (
    builtins.readFile ../docs/nixos.md
  );
  pasted =
    assert lib.assertMsg shown "docs/nixos.md does not show nix/template/flake.nix as it is";
    import template;
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
