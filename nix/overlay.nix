# Everything of ours under one name, so that `gateway` and the like stay free in nixpkgs.
{ self }:
final: _: {
  shopPackages = final.lib.makeScope final.newScope (
    scope:
    let
      inherit (final) lib;
      call = path: scope.callPackage path { };
    in
    {
      services = import ./services.nix;
      # What `nix build` says of the revision; a checkout with changes has none of its own.
      revision = {
        full = self.rev or self.dirtyRev or "unknown";
        short = self.shortRev or self.dirtyShortRev or "dirty";
        # 2026-08-14T09:15:00Z from 20260814091500: the same input makes the same image.
        date =
          let
            date = self.lastModifiedDate or "19700101000000";
            at = start: count: builtins.substring start count date;
          in
          "${at 0 4}-${at 4 2}-${at 6 2}T${at 8 2}:${at 10 2}:${at 12 2}Z";
      };
      source = call ./source.nix;
      # What bench/proxy/profile wrote, by which the gateway is optimised: overrideScope (_: _: { gatewayProfile = ./gateway.profdata; }).
      gatewayProfile = null;
      workspace = call ./workspace.nix;
      # Without what callPackage adds.
      images = lib.intersectAttrs scope.services (call ./images.nix);
      chart = call ./chart.nix;
      dev = call ./dev.nix;
      format = call ./format.nix;
      options-doc = scope.callPackage ./options-doc.nix { inherit self; };
      binaries = lib.mapAttrs (_: scope.workspace.binary) scope.services;
    }
  );
}
