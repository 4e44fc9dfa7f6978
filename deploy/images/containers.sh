# shellcheck shell=bash
# Containers in a folder of their own, so that nothing here touches a user's
# images or configuration: storage, containers.conf and registries.conf for
# podman, buildah and skopeo. It needs no network and no daemon, and works for
# root on a fresh Debian 12. To be sourced by bash:
#
#   . deploy/images/containers.sh
#   containers_install podman skopeo     what is absent, from Debian: any of podman, buildah, skopeo, docker-registry, jq
#   containers_use DIR                   from here on, podman, buildah and skopeo work in DIR
#   containers_load telltale-agent       the image of `make images` for this machine, as localhost/telltale-agent:latest
#   containers_remove                    stops and removes all containers of DIR, and DIR
#
# podman and buildah speak to registries on the loopback without TLS, to all others
# with; skopeo wants --tls-verify=false. Without systemd, podman says that it has no
# timer for an image's health check; `podman healthcheck run` does it. DIR is best
# short (a socket's path has at most 107 bytes) and not in a tmpfs that is small. Two
# users of one DIR share images; two DIRs share nothing.

containers_repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

containers_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

containers_install() {
  local packages=() name
  for name; do
    case $name in
      podman)
        # podman may be there without what it only recommends. A pod is held open by catatonit.
        local tool
        for tool in podman runc catatonit iptables; do
          [ -x "/usr/bin/$tool" ] || [ -x "/usr/sbin/$tool" ] || command -v "$tool" >/dev/null || packages+=("$tool")
        done
        ;;
      buildah | skopeo | docker-registry | jq) command -v "$name" >/dev/null || packages+=("$name") ;;
      *) echo "containers_install: $name: want podman, buildah, skopeo, docker-registry or jq" >&2; return 1 ;;
    esac
  done
  [ ${#packages[@]} = 0 ] && return
  command -v apt-get >/dev/null || { echo "containers_install: needs ${packages[*]}, and knows only apt-get to get them" >&2; return 1; }
  # Debian starts a registry as it installs it.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | containers_root tee $policy >/dev/null
    containers_root chmod +x $policy
    made=yes
  fi
  local code=0
  { containers_root apt-get update -qq &&
    containers_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } || code=$?
  [ -z "$made" ] || containers_root rm -f $policy
  return $code
}

containers_use() {
  mkdir -p "$1/run"
  containers_dir=$(cd "$1" && pwd)
  # Overlay needs a kernel and a file system that let us mount one; vfs copies.
  local driver=vfs probe
  probe=$(mktemp -d "$containers_dir/probe.XXXXXX")
  mkdir "$probe"/{lower,upper,work,merged}
  if mount -t overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" overlay "$probe/merged" 2>/dev/null; then
    umount "$probe/merged"
    driver=overlay
  fi
  rm -rf "$probe"
  # A folder's images are lost to another driver.
  if [ -e "$containers_dir/driver" ]; then driver=$(cat "$containers_dir/driver"); else echo $driver >"$containers_dir/driver"; fi
  local cgroups=cgroupfs
  if [ -d /run/systemd/system ]; then cgroups=systemd; fi

  cat >"$containers_dir/storage.conf" <<EOF
[storage]
driver = "$driver"
graphroot = "$containers_dir/storage"
runroot = "$containers_dir/run/storage"
EOF
  # runc knows cgroups of both versions. podman's own limit of open files is
  # above what a container or CI may raise its to.
  cat >"$containers_dir/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "$cgroups"
events_logger = "file"
static_dir = "$containers_dir/storage/libpod"
volume_path = "$containers_dir/storage/volumes"
tmp_dir = "$containers_dir/run/libpod"
image_copy_tmp_dir = "storage"
EOF
  cat >"$containers_dir/registries.conf" <<'EOF'
unqualified-search-registries = []
[[registry]]
location = "127.0.0.1"
insecure = true
[[registry]]
location = "localhost"
insecure = true
EOF
  export CONTAINERS_STORAGE_CONF=$containers_dir/storage.conf CONTAINERS_CONF=$containers_dir/containers.conf
  export CONTAINERS_REGISTRIES_CONF=$containers_dir/registries.conf
}

containers_load() {
  local image
  for image; do
    [ -d "$containers_repository/bin/images/$image" ] || { echo "containers_load: bin/images/$image is not there: make images" >&2; return 1; }
    skopeo copy --quiet "dir:$containers_repository/bin/images/$image" "containers-storage:localhost/$image:latest"
  done
}

containers_remove() {
  podman rm --all --force --volumes --time 0 >/dev/null
  # What is left mounted belongs to nobody now.
  podman unmount --all >/dev/null
  umount "$containers_dir/storage/overlay" 2>/dev/null || true
  rm -rf --one-file-system "$containers_dir"
}
