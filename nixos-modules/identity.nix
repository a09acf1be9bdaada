# Who may call: the same for every service of this machine. The suite's own key, by which services know each other and guests
# and staff are known, is made on the machine unless one is named.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.shop;
  own = cfg.identity;
  services = import ../nix/services.nix;
  format = pkgs.formats.toml { };

  enabled = lib.filter (name: cfg.${name}.enable) (lib.attrNames services);
  signing = lib.filter (name: services.${name}.signs or false) enabled;
  isRequired = own.settings.mode != "off";
  folder = "/var/lib/shop-identity";
  isMade = own.keyFile == null && own.trustedFile == null;
  keyFile = if isMade then "${folder}/key.pem" else own.keyFile;
  # The public half of the key at hand, unless somebody says what else is trusted.
  isDerived = own.trustedFile == null;
  trustedFile = if isDerived then "${folder}/trusted.pem" else own.trustedFile;
  unit = "shop-identity-key.service";

  # Without what is not set, which would hide the program's default.
  settings = lib.filterAttrs (_: value: value != null) own.settings;
  optional =
    type: description:
    mkOption {
      type = types.nullOr type;
      default = null;
      description = "${description} The program's own default when null.";
    };
in
{
  options.services.shop.identity = {
    settings = mkOption {
      type = types.submodule {
        freeformType = format.type;
        options = {
          mode = mkOption {
            type = types.enum [
              "required"
              "off"
            ];
            default = "required";
            description = "Whether callers have to say who they are. With `off` anybody may do anything.";
          };
          allow_anonymous = optional types.bool "Takes the blame for `off` where other machines may call.";
          issuer = optional types.str "Who issues people's tokens: `iss`, to the letter.";
          audience = optional types.str "What its tokens have to have in `aud`.";
          jwks_url = optional types.str "Where its keys are; its discovery document says when it is not set.";
          roles_claim = optional types.str "Where its tokens have roles, such as `realm_access.roles`.";
          roles = optional (types.attrsOf (
            types.enum [
              "catalogue"
              "support"
              "operator"
            ]
          )) "What its roles are called here.";
          leeway = optional types.str "How far clocks may differ, such as `60s`.";
        };
      };
      default = { };
      description = ''
        The section `identity` of every service's settings, with the keys that `--explain` lists; what a service's own
        `settings.identity` says wins.
      '';
    };

    keyFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/keys/shop.pem";
      description = ''
        The suite's own private key (P-256, PEM), which has to be the same on every machine that runs a part of one shop. When
        neither this nor `trustedFile` is set one is made in `/var/lib/shop-identity`. It must not be in the Nix store.
      '';
    };

    trustedFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      example = "/run/keys/shop.pub";
      description = ''
        The public half of that key, and of others that are trusted, too: what a machine needs that runs none of product, basket
        and payment service. The public half of the first key in `keyFile` when null.
      '';
    };
  };

  config = lib.mkIf (enabled != [ ]) {
    assertions = [
      {
        assertion = !isRequired || signing == [ ] || keyFile != null;
        message = "services.shop.identity.trustedFile is set and keyFile is not, but ${lib.concatStringsSep " and " signing} sign tokens: name the key, too.";
      }
    ];

    services.shop = lib.genAttrs (lib.attrNames services) (
      name:
      lib.mkIf cfg.${name}.enable {
        settings.identity = lib.mapAttrs (_: lib.mkDefault) settings;
        credentials = lib.mkIf isRequired (
          {
            IDENTITY_TRUSTED = lib.mkDefault trustedFile;
          }
          // lib.optionalAttrs (lib.elem name signing && keyFile != null) {
            IDENTITY_KEY = lib.mkDefault keyFile;
          }
        );
      }
    );

    systemd.services = lib.mkIf (isRequired && isDerived) (
      {
        shop-identity-key = {
          description = "The shop's own key";
          path = [ pkgs.openssl ];
          serviceConfig = {
            Type = "oneshot";
            RemainAfterExit = true;
            StateDirectory = "shop-identity";
            StateDirectoryMode = "0700";
            UMask = "0077";
          };
          # Renamed into place, so that half a key is never found.
          script =
            lib.optionalString isMade ''
              if [ ! -s ${keyFile} ]; then
                openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ${keyFile}.new
                mv ${keyFile}.new ${keyFile}
              fi
            ''
            + ''
              openssl pkey -in ${lib.escapeShellArg (toString keyFile)} -pubout -out ${trustedFile}.new
              mv ${trustedFile}.new ${trustedFile}
            '';
        };
      }
      // lib.genAttrs (map (name: "shop-${name}") enabled) (_: {
        requires = [ unit ];
        after = [ unit ];
      })
    );

    # `sudo shop-token --user ada --role catalogue`: who may read the key may make one.
    environment.systemPackages = lib.mkIf (isRequired && signing != [ ] && keyFile != null) [
      (pkgs.writeShellScriptBin "shop-token" ''
        IDENTITY_KEY_FILE=${lib.escapeShellArg (toString keyFile)} exec ${
          lib.getExe cfg.${lib.head signing}.package
        } token "$@"
      '')
    ];
  };
}
