#!/bin/sh
# Installs the tools of the course on Debian 13, Ubuntu 24.04 and later. Run it as
# root. If Rust is missing, it installs rustup. Then each user gets Rust with
# `rustup default stable`.
set -eu

export DEBIAN_FRONTEND=noninteractive
set -- attr busybox-static gcc git hostname iproute2 libc6-dev nftables passt procps slirp4netns strace uidmap util-linux
command -v cargo >/dev/null || set -- "$@" rustup
apt-get update -qq
apt-get install -qq -y "$@"
