# What `nix flake check` builds.
{ pkgs, self }:
let
  inherit (pkgs) lib shopPackages;
  inherit (shopPackages) source workspace;

  # A command on the sources with all crates at hand, in place of a build.
  cargo =
    name: nativeBuildInputs: command:
    pkgs.rustPlatform.buildRustPackage (
      workspace.cargo
      // {
        pname = "check-${name}";
        src = source.test;
        nativeBuildInputs = workspace.cargo.nativeBuildInputs ++ nativeBuildInputs;
        buildPhase = ''
          patchShebangs --build scripts
          export CARGO_NET_OFFLINE=true HOME=$PWD
          ${command}
        '';
        installPhase = "touch $out";
        dontFixup = true;
      }
    );
in
{
  clippy = cargo "clippy" [ pkgs.clippy ] "scripts/lint clippy";

  deny = cargo "deny" [ pkgs.cargo-deny ] "scripts/lint deny";

  format = cargo "format" [ pkgs.rustfmt ] "scripts/lint format";

  # Everything, on embedded stores, on real servers and in a real browser, as `make test` has it.
  tests =
    cargo "tests"
      [
        (pkgs.apacheKafka_3_9 or pkgs.apacheKafka)
        pkgs.chromedriver
        pkgs.chromium
        pkgs.curl
        pkgs.haproxy
        pkgs.iproute2
        pkgs.jdk_headless
        pkgs.locale
        pkgs.mariadb
        pkgs.openssl
        pkgs.pgbouncer
        pkgs.postgresql
        pkgs.procps
        (pkgs.python3.withPackages (python: [
          python.aiosmtpd
          python.prometheus-client
        ]))
        pkgs.redis
        pkgs.strace
        pkgs.util-linux
      ]
      ''
        # Where it is looked for before it is built, which would need the network.
        mkdir -p .backends/tools/bin
        ln -s ${lib.getExe' pkgs.h2spec "h2spec"} .backends/tools/bin/h2spec
        export FONTCONFIG_FILE=${pkgs.makeFontsConf { fontDirectories = [ pkgs.dejavu_fonts ]; }}
        # Their generators come from PyPI, npm and Go's proxy, which a build here cannot reach.
        export SHOP_TEST_CLIENTS=off SHOP_TEST_OIDC_ISSUER=off SHOP_TEST_GRPC_WEB=off SHOP_TEST_PEERS=off SHOP_TEST_STRIPE_MOCK_URL=off SHOP_TEST_GALERA=off
        SHOP_TEST_REQUIRE_BACKENDS=1 scripts/backends run -- \
          cargo test --locked --workspace --features shop/crash-points
      '';

  nix-format =
    pkgs.runCommand "check-nix-format"
      {
        nativeBuildInputs = [
          (pkgs.nixfmt-rs or pkgs.nixfmt)
          pkgs.deadnix
        ];
        src = lib.fileset.toSource {
          root = ../.;
          fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ../.;
        };
      }
      ''
        find "$src" -name '*.nix' -print0 | xargs -0 nixfmt --check
        deadnix --fail "$src"
        touch $out
      '';

  options-doc =
    pkgs.runCommand "check-options-doc"
      {
        fresh = shopPackages.options-doc;
        committed = ../docs/nixos-options.md;
      }
      ''
        diff -u "$committed" "$fresh" || { echo "docs/nixos-options.md is not what the module says: make nix-docs" >&2; exit 1; }
        touch $out
      '';

  # What an image drags along is the program and the C library: nothing to run commands with, nothing of the build.
  closures = pkgs.runCommand "check-closures" { } (
    lib.concatMapStrings (package: ''
      echo "${package.name}: $(cat ${pkgs.closureInfo { rootPaths = [ package ]; }}/total-nar-size) bytes"
      if grep -E -- '-(bash|busybox|coreutils|rustc|cargo|perl|python3?|binutils)-[^/]*$' ${
        pkgs.closureInfo { rootPaths = [ package ]; }
      }/store-paths; then
        echo "${package.name} drags these along" >&2
        exit 1
      fi
    '') (lib.attrValues shopPackages.binaries)
    + "touch $out"
  );

  chart =
    pkgs.runCommand "check-chart"
      {
        nativeBuildInputs = [ pkgs.kubernetes-helm ];
        inherit (shopPackages) chart;
      }
      ''
        export HOME=$PWD HELM_CACHE_HOME=$PWD/cache
        tar -xzf "$chart"/*.tgz
        for values in values values-staging values-dev; do
          helm lint obs-tools-usage --strict --kube-version 1.33.0 -f "obs-tools-usage/$values.yaml"
          helm template shop obs-tools-usage --kube-version 1.33.0 -f "obs-tools-usage/$values.yaml" >"$values.out"
        done
        # The images it asks for are those made here.
        grep -q 'image: .*gateway:${shopPackages.images.gateway.imageTag}"\?$' values.out
        touch $out
      '';
}
// import ./checks/module.nix { inherit pkgs self; }
// import ./tests { inherit pkgs self; }
