# The Helm chart as a package, its images' tag set to those of this revision. Packed anew, because helm writes the time
# of packing into the archive.
{
  lib,
  kubernetes-helm,
  images,
  runCommand,
}:
runCommand "obs-tools-usage-chart"
  {
    nativeBuildInputs = [ kubernetes-helm ];
    src = lib.fileset.toSource {
      root = ../k8s/obs-tools-usage;
      fileset = ../k8s/obs-tools-usage;
    };
    tag = images.gateway.imageTag;
    meta.description = "The Helm chart, with the images of this revision";
  }
  ''
    export HOME=$PWD HELM_CACHE_HOME=$PWD/cache
    helm package "$src" --app-version "$tag" --destination packed
    mkdir chart "$out"
    tar -xzf packed/*.tgz -C chart
    tar --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --format=gnu -C chart -c obs-tools-usage |
      gzip -n >"$out/$(basename packed/*.tgz)"
  ''
