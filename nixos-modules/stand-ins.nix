# What stands for a service's credentials while a build judges its settings: the real ones are on the machine alone, and other
# settings belong to them.
{ lib, pkgs }:
own:
let
  named = lib.attrNames own.credentials;
  given = path: lib.attrByPath path null own.settings != null;
  # Secrets that the program misses, each with what shows that it may be in `environmentFile`, whose content is not known.
  secrets = {
    WEBHOOK_SECRET = {
      value = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
      wanted = true;
    };
    KAFKA_SASL_PASSWORD = {
      value = "stand-in";
      wanted = given [
        "kafka"
        "sasl"
        "username"
      ];
    };
    KAFKA_SASL_OAUTH_CLIENT_SECRET = {
      value = "stand-in";
      wanted = given [
        "kafka"
        "sasl"
        "oauth"
        "client_id"
      ];
    };
  };
  # A certificate, which is its own authority, and its key; those of tokens have no certificate.
  certificates = lib.filter (name: lib.hasSuffix "CERT" name || lib.hasSuffix "CA" name) named;
  keys = lib.filter (
    name: lib.hasSuffix "KEY" name && lib.elem "${lib.removeSuffix "KEY" name}CERT" named
  ) named;
  # Nobody has the private half of this one.
  trusted = builtins.toFile "trusted.pem" ''
    -----BEGIN PUBLIC KEY-----
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0V+S2Q/lMEV9VSI3BCXk0g+5xlSH
    fJbSYDndmkH5aJhIB1SBrxOfSExhDTLm9zws5AEQDKCPxHVcRGVSBwv7kw==
    -----END PUBLIC KEY-----
  '';
in
{
  environment =
    lib.mapAttrs (_: secret: secret.value) (
      lib.filterAttrs (
        name: secret: lib.elem name named || own.environmentFile != null && secret.wanted
      ) secrets
    )
    // lib.optionalAttrs (lib.elem "IDENTITY_TRUSTED" named) { IDENTITY_TRUSTED_FILE = trusted; };

  nativeBuildInputs = lib.optional (certificates != [ ]) pkgs.openssl;

  prepare = lib.optionalString (certificates != [ ]) ''
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=stand-in -keyout key.pem -out cert.pem
    ${lib.concatMapStrings (name: "export ${name}_FILE=$PWD/cert.pem\n") certificates}
    ${lib.concatMapStrings (name: "export ${name}_FILE=$PWD/key.pem\n") keys}
  '';
}
