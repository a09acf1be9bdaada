{
  description = "A shop's backend and API gateway: products, baskets, payments, notifications";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      forAll =
        f: lib.genAttrs systems (system: f (nixpkgs.legacyPackages.${system}.extend self.overlays.default));
    in
    {
      overlays.default = import ./nix/overlay.nix { inherit self; };

      packages = forAll (pkgs: import ./nix/packages.nix { inherit pkgs; });

      apps = forAll (pkgs: import ./nix/apps.nix { inherit pkgs; });

      devShells = forAll (pkgs: {
        default = import ./nix/shell.nix { inherit pkgs; };
      });

      formatter = forAll (pkgs: pkgs.shopPackages.format);

      checks = forAll (pkgs: import ./nix/checks.nix { inherit pkgs self; });

      nixosModules.default = import ./nixos-modules { inherit self; };

      templates.default = {
        path = ./nix/template;
        description = "A machine with the whole shop and its stores";
      };

      # Whole systems that `nix flake check` evaluates: the module with everything, with nothing, with each service alone.
      nixosConfigurations = import ./nix/systems.nix { inherit self nixpkgs; };
    };
}
