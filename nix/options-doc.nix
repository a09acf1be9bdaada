# docs/nixos-options.md: the module's options, written out by Nix alone so that it can be compared while evaluating.
{
  lib,
  nixosOptionsDoc,
  pkgs,
  self,
  writeText,
}:
let
  evaluated = lib.evalModules {
    modules = [
      self.nixosModules.default
      {
        # The module sets options of NixOS, which are not here.
        _module.check = false;
        _module.args.pkgs = pkgs;
      }
    ];
  };
  options =
    (nixosOptionsDoc {
      options.services.shop = evaluated.options.services.shop;
      transformOptions = option: option // { declarations = [ ]; };
    }).optionsNix;

  plain = value: lib.trim (if lib.isString value then value else value.text or "");
  code = value: "`${lib.replaceStrings [ "\n" ] [ " " ] (plain value)}`";
  shown = value: if (value._type or "") == "literalMD" then plain value else code value;
  entry =
    name: option:
    lib.concatStringsSep "\n" (
      [
        "### `${name}`"
        ""
        (lib.replaceStrings [ "\n" ] [ " " ] (plain option.description))
        ""
        "- type: ${option.type}"
      ]
      ++ lib.optional (option ? default) "- default: ${shown option.default}"
      ++ lib.optional (option ? example) "- example: ${shown option.example}"
      ++ [ "" ]
    );
in
writeText "nixos-options.md" (
  lib.concatStringsSep "\n" (
    [
      "# Options of `services.shop`"
      ""
      "Written by `make nix-docs` from the module; [nixos.md](nixos.md) shows how to use them."
      ""
    ]
    ++ lib.mapAttrsToList entry options
  )
)
// {
  meta.description = "Reference of the options of services.shop";
}
