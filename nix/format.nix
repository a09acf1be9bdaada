# `nix fmt`: every Nix and Rust file, or those named.
{
  cargo,
  git,
  nixfmt-rs ? null,
  nixfmt,
  rustfmt,
  writeShellApplication,
}:
writeShellApplication {
  name = "format";
  runtimeInputs = [
    cargo
    git
    # The same formatter, without a Haskell compiler behind it, where nixpkgs has it.
    (if nixfmt-rs == null then nixfmt else nixfmt-rs)
    rustfmt
  ];
  text = ''
    if (($#)); then
      nixfmt "$@"
    else
      git ls-files -z '*.nix' | xargs -0 nixfmt
      cargo fmt --all
    fi
  '';
  meta.description = "Formats Nix and Rust";
}
