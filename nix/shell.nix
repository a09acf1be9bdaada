# `nix develop`: the toolchain, the servers that tests want on PATH, the tools of the checks.
{ pkgs }:
pkgs.mkShell {
  packages = [
    pkgs.apacheKafka
    pkgs.cargo
    pkgs.cargo-deny
    pkgs.chromedriver
    pkgs.chromium
    pkgs.clippy
    pkgs.curl
    pkgs.deadnix
    pkgs.go
    pkgs.haproxy
    pkgs.jdk_headless
    pkgs.jq
    pkgs.kube-score
    pkgs.kubeconform
    pkgs.kubernetes-helm
    pkgs.mariadb
    pkgs.openssl
    pkgs.pgbouncer
    pkgs.postgresql
    pkgs.process-compose
    (pkgs.python3.withPackages (python: [
      python.aiosmtpd
      python.prometheus-client
    ]))
    pkgs.redis
    pkgs.rust-analyzer
    pkgs.rustc
    pkgs.rustfmt
    pkgs.shellcheck
    pkgs.shopPackages.format
    pkgs.statix
  ];
}
