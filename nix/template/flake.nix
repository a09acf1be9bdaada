{
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    shop.url = "git+file:///srv/shop"; # this repository
    shop.inputs.nixpkgs.follows = "nixpkgs";
  };

  outputs =
    { nixpkgs, shop, ... }:
    {
      nixosConfigurations.shop = nixpkgs.lib.nixosSystem {
        modules = [
          shop.nixosModules.default
          {
            nixpkgs.hostPlatform = "x86_64-linux";
            system.stateVersion = "26.05";
            boot.loader.grub.device = "/dev/vda"; # yours
            fileSystems."/" = {
              device = "/dev/vda1";
              fsType = "ext4";
            }; # yours

            services.shop = {
              gateway = {
                enable = true;
                openFirewall = true;
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
          }
        ];
      };
    };
}
