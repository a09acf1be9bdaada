# What must never be in the Nix store, where every user of the machine can read it.
{ lib }:
let
  # Keys that hold a secret, whatever section they are in.
  names = [
    "password"
    "secret"
    "secret_key"
    "webhook_secrets"
    "token"
  ];
  leaves =
    path: value:
    if lib.isAttrs value && !lib.isDerivation value then
      lib.concatLists (lib.mapAttrsToList (key: leaves (path ++ [ key ])) value)
    else if lib.isList value then
      lib.concatLists (lib.imap0 (index: leaves (path ++ [ (toString index) ])) value)
    else
      [ { inherit path value; } ];
  isSecret =
    { path, value }:
    lib.isString value
    && value != ""
    && (
      lib.elem (lib.last path) names
      || builtins.match ".*://([^/?#]*:[^/?#@]+@|.*[?&][a-z_]*password=[^&#]).*" value != null
    );
  inStore = path: lib.hasPrefix "${builtins.storeDir}/" (toString path);
in
{
  # For the service NAME with these options and the settings as they will be written.
  assertions =
    name: own: settings:
    map (
      { path, ... }@leaf:
      {
        assertion = !isSecret leaf;
        message = ''
          services.shop.${name}.settings.${lib.concatStringsSep "." path} holds a secret, and settings can be read by everybody.
          Put it into a file and name that in services.shop.${name}.credentials.'';
      }
    ) (leaves [ ] settings)
    ++
      map
        (
          { option, path }:
          {
            assertion = path == null || !inStore path;
            message = ''
              services.shop.${name}.${option} is in the Nix store (${toString path}), where everybody can read it.
              Write the path as a string, such as "/run/keys/…", and bring the file there by other means.'';
          }
        )
        (
          [
            {
              option = "environmentFile";
              path = own.environmentFile;
            }
          ]
          ++ lib.mapAttrsToList (variable: path: {
            option = "credentials.${variable}";
            inherit path;
          }) own.credentials
        );
}
