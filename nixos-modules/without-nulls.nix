# Settings without what is null, which stands for the program's own default.
{ lib }:
let
  without =
    value:
    if lib.isAttrs value then
      lib.mapAttrs (_: without) (lib.filterAttrs (_: inner: inner != null) value)
    else if lib.isList value then
      map without value
    else
      value;
in
without
