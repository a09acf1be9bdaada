# An image for each binary: the program, the libraries it links to, CA certificates, a user. No shell, nothing to write to.
# It listens on every address, and so starts only when it is told whose tokens are good (or IDENTITY_MODE=off, said twice).
# Each is a script that streams the image, so that no archive lies in the store: `$(nix build --print-out-paths .#image-gateway) | docker load`.
{
  lib,
  binaries,
  dockerTools,
  revision,
  services,
  source,
}:
let
  # Above what distributions give to users of their own, and the same in each image.
  id = "65532";

  users = dockerTools.fakeNss.override {
    extraPasswdLines = [ "shop:x:${id}:${id}:shop:/var/empty:/bin/false" ];
    extraGroupLines = [ "shop:x:${id}:" ];
  };

  image =
    name: service:
    let
      package = binaries.${name};
      embedded = service.embedded or false;
      ports = [ service.http ] ++ lib.optional (service ? grpc) service.grpc;
    in
    dockerTools.streamLayeredImage {
      name = service.binary;
      # Never the same tag for other content: nodes keep what they have.
      tag = "${source.version}-${revision.short}";
      created = revision.date;
      # The program also by its name, for whoever runs `token` in a container.
      contents = [
        package
        dockerTools.caCertificates
        users
      ];
      # The embedded stores' folder, for whichever user the container is given. Everything else stands a read-only root.
      extraCommands = lib.optionalString embedded "mkdir -m 1777 data";
      config = {
        Entrypoint = [ (lib.getExe package) ];
        User = "${id}:${id}";
        # From here the stores' folder, `data` unless set, is the one above.
        WorkingDir = "/";
        # Of settings only one, for variables win over settings files: in a container loopback is nobody's. An address that
        # the file gives to one listener still holds.
        Env = [
          "PATH=/bin"
          "SHOP_HOST=0.0.0.0"
          "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
        ];
        Volumes = lib.optionalAttrs embedded { "/data" = { }; };
        ExposedPorts = lib.genAttrs (map (port: "${toString port}/tcp") ports) (_: { });
        StopSignal = "SIGTERM";
        Labels = lib.mapAttrs' (key: lib.nameValuePair "org.opencontainers.image.${key}") {
          title = service.binary;
          inherit (package.meta) description;
          inherit (source) version;
          revision = revision.full;
          created = revision.date;
          licenses = "MIT OR Apache-2.0";
        };
      };
    };
in
lib.mapAttrs image services
