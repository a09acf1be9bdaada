# `packages`: a package and an image for each binary, the chart, the reference of the module's options.
{ pkgs }:
let
  inherit (pkgs) lib shopPackages;
  inherit (shopPackages) binaries images services;
  byBinary =
    prefix: set: lib.mapAttrs' (name: lib.nameValuePair (prefix + services.${name}.binary)) set;
in
byBinary "" binaries
// byBinary "image-" images
// {
  default = binaries.all-in-one;
  inherit (shopPackages) chart options-doc;
}
