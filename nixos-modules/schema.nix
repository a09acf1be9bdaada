# Types of the gateway's settings, made of the schema that the chart checks its values by, which is written from the program's own
# types. A key that it does not have, or a value that it cannot be, is refused while the system is evaluated.
{ format, lib }:
let
  inherit (lib) mkOption types;
  written = builtins.fromJSON (builtins.readFile ../k8s/obs-tools-usage/values.schema.json);

  # Texts may be numbers, lists or sections in the file, as a port or a list of backends is.
  typeOf =
    schema:
    if schema ? enum then
      types.enum schema.enum
    else if schema.type == "boolean" then
      types.bool
    else if schema.type == "integer" then
      types.ints.unsigned
    else if schema.type == "number" then
      types.number
    else if schema.type == "array" then
      types.listOf (typeOf schema.items)
    else if schema.type == "object" && schema ? properties then
      types.submodule { options = lib.mapAttrs (_: optional) schema.properties; }
    else if schema.type == "object" then
      types.attrsOf (typeOf schema.additionalProperties)
    else
      format.type;
  optional =
    schema:
    mkOption {
      type = types.nullOr (typeOf schema);
      default = null;
      # gateway-settings.md has them all.
      visible = false;
    };
in
# The type of a section of the gateway's settings.
section: typeOf written."$defs".gatewaySettings.properties.${section}
