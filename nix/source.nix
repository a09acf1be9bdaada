# What cargo reads. No docs, charts or Nix files: prose does not rebuild binaries.
{ lib }:
let
  root = ../.;
  members = [
    ../Cargo.toml
    ../Cargo.lock
    ../bench
    ../crates
    ../gateway
    ../proto
    ../services
  ];
  of =
    files:
    lib.fileset.toSource {
      inherit root;
      fileset = lib.fileset.unions files;
    };
in
{
  build = of members;
  # Tests also run the examples in the docs, on the servers that the scripts start, and compare what pages, chart and module name.
  test = of (
    members
    ++ [
      ../CHANGELOG.md
      ../CONTRIBUTING.md
      ../README.md
      ../SECURITY.md
      ../clippy.toml
      ../deny.toml
      ../docs
      ../k8s
      ../nix
      ../nixos-modules
      ../rustfmt.toml
      ../scripts
    ]
  );
  version = (lib.importTOML ../Cargo.toml).workspace.package.version;
}
