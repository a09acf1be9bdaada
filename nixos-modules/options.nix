# The options of one service.
args@{
  cfg,
  format,
  lib,
  name,
  pkgs,
  self,
  service,
  ...
}:
let
  inherit (lib) mkOption types;
  own = cfg.${name};

  written = format.generate "shop-${name}.toml" (
    import ./without-nulls.nix { inherit lib; } own.settings
  );
  canRun = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
  standIns = import ./stand-ins.nix { inherit lib pkgs; } own;
  checked =
    pkgs.runCommand "shop-${name}.toml"
      (
        {
          inherit written;
          inherit (standIns) nativeBuildInputs;
        }
        // standIns.environment
      )
      ''
        ${standIns.prepare}
        ${lib.getExe own.package} --check --config "$written"
        cp "$written" "$out"
      '';

  secret =
    {
      postgresql = "DB_PASSWORD";
      mariadb = "DB_PASSWORD";
      redis = "REDIS_PASSWORD";
    }
    .${service.store or ""} or "ADMIN_TOKEN";
in
{
  enable = lib.mkEnableOption "the ${service.about}";

  package = mkOption {
    type = types.package;
    default = self.packages.${pkgs.stdenv.hostPlatform.system}.${service.binary};
    defaultText = lib.literalMD "`${service.binary}` of this flake";
    description = "The package to run.";
  };

  settings = mkOption {
    type = types.submodule {
      freeformType = format.type;
      options = import ./settings.nix args;
    };
    default = { };
    description = ''
      Settings, with the keys that `${service.binary} --explain` lists. Keys not shown here are taken too. They end up
      in a file that everybody can read: put secrets into `credentials`.
    '';
  };

  checkSettings = mkOption {
    type = types.bool;
    default = true;
    description = ''
      Whether the program judges its settings while the system is built, so that a wrong one fails there. Turn it off
      for settings that name files which only the machine itself has.
    '';
  };

  settingsFile = mkOption {
    type = types.path;
    readOnly = true;
    default = if own.checkSettings && canRun then checked else written;
    defaultText = lib.literalMD "made from `settings`";
    description = "The file that is written from the settings.";
  };

  credentials = mkOption {
    type = types.attrsOf types.path;
    default = { };
    example = lib.literalExpression ''{ ${secret} = "/run/keys/${name}"; }'';
    description = ''
      Secrets: the environment variable that takes each (`${service.binary} --help` lists them) and the file it is in.
      systemd reads the file as root and hands it to this service alone. It must not be in the Nix store.
    '';
  };

  environmentFile = mkOption {
    type = types.nullOr types.path;
    default = null;
    example = "/run/keys/${name}.env";
    description = "File with more environment variables, read by systemd. It must not be in the Nix store.";
  };

  openFirewall = mkOption {
    type = types.bool;
    default = false;
    description = ''
      Whether other machines may call the service: opens its ports in the firewall and listens on every address instead of
      on 127.0.0.1.
    '';
  };
}
