# The binaries, in two builds. Who wants the gateway should not compile Kafka's C library and three database drivers, so it
# is built alone. The rest shares nearly all of its dependencies and is compiled at once, then taken apart.
{
  gatewayProfile,
  lib,
  perl,
  removeReferencesTo,
  runCommand,
  rustPlatform,
  services,
  source,
}:
let
  licenses = [
    lib.licenses.mit
    lib.licenses.asl20
  ];

  meta = service: {
    description = "The shop's ${service.about}";
    mainProgram = service.binary;
    license = licenses;
    platforms = lib.platforms.linux;
  };

  cargo = {
    inherit (source) version;
    cargoLock.lockFile = ../Cargo.lock;
    # Configures the OpenSSL that Kafka's C library is built with.
    nativeBuildInputs = [ perl ];
    # Kafka's C library is built by a script that starts with /usr/bin/env, which a sandbox does not have. Not later than
    # here: the variable is gone afterwards.
    prePatch = ''
      script=$(find "$cargoDepsCopy" -path '*/librdkafka/configure')
      [[ -n $script ]] || { echo "where is librdkafka's configure?" >&2; exit 1; }
      patchShebangs --build "$script"
    '';
    # Every test runs in `checks.tests`, once, on real servers.
    doCheck = false;
  };

  build =
    pname: members:
    rustPlatform.buildRustPackage (
      cargo
      // {
        inherit pname;
        src = source.build;
        # Thin LTO and one codegen unit; see Cargo.toml.
        buildType = "dist";
        cargoBuildFlags = lib.concatMap (member: [
          "--package=${member.crate}"
          "--bin=${member.binary}"
        ]) members;
        meta = {
          license = licenses;
          platforms = lib.platforms.linux;
        };
      }
    );

  together = build "shop-services" (lib.filter (service: service.kafka) (lib.attrValues services));

  alone =
    service:
    (build service.binary [ service ]).overrideAttrs (
      {
        meta = meta service;
      }
      // lib.optionalAttrs (service.binary == "gateway" && gatewayProfile != null) {
        RUSTFLAGS = "-Cprofile-use=${gatewayProfile}";
        CARGO_PROFILE_DIST_LTO = "fat";
      }
    );

  apart =
    service:
    runCommand "${service.binary}-${source.version}"
      {
        pname = service.binary;
        inherit (source) version;
        meta = meta service;
        nativeBuildInputs = [ removeReferencesTo ];
        # One service's image must not hold them all.
        disallowedReferences = [ together ];
      }
      ''
        install -Dm755 -t "$out/bin" ${together}/bin/${service.binary}
        # Where the linker wrote down its libraries would be; there are none.
        remove-references-to -t ${together} "$out/bin/${service.binary}"
        chmod 555 "$out/bin/${service.binary}"
      '';
in
{
  inherit cargo;
  binary = service: if service.kafka then apart service else alone service;
}
