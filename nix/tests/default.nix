# Tests in virtual machines: the whole shop on one, and spread over several.
{ pkgs, self }:
let
  test = file: pkgs.testers.runNixOSTest (import file { inherit self; });
in
{
  suite = test ./suite.nix;
  cluster = test ./cluster.nix;
}
