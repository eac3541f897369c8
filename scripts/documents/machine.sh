#!/bin/sh
# A copy-on-write copy of this machine with a network, a host name and processes of its own; what runs in it cannot touch the machine
# itself, and ends with it: machine.sh FOLDER LOWER COMMAND…, where LOWER are the layers to begin with and FOLDER has the changes.
set -eu
folder=$1 lower=$2
shift 2
mkdir -p "$folder/upper" "$folder/work" "$folder/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
mount -t proc proc "$folder/root/proc"
mount --rbind /dev "$folder/root/dev"
mount --rbind /sys "$folder/root/sys"
mount -t tmpfs tmpfs "$folder/root/run"
# Where the project lies on another disk: to be read only.
if [ ! -e "$folder/root$DOCUMENTS_PROJECT/package.json" ]; then
  mkdir -p "$folder/root$DOCUMENTS_PROJECT"
  mount --bind -o ro "$DOCUMENTS_PROJECT" "$folder/root$DOCUMENTS_PROJECT"
fi
hostname gw1
ip link set lo up
# Every address of the documents is this machine's.
for address in 10.1.0.4 10.1.0.5 10.0.9.1 10.200.0.1; do ip address add $address/32 dev lo; done
ip route add local 10.0.0.0/8 dev lo
exec chroot "$folder/root" "$@"
