# The ports of the gateway's own listeners, which are sections by name or a list, each with an address such as "[::]:8443".
{ lib }:
gateway:
let
  listeners = gateway.listeners or { };
  all = if lib.isList listeners then listeners else lib.attrValues listeners;
in
map (listener: lib.toInt (lib.last (lib.splitString ":" listener.address))) all
