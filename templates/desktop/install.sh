#!/bin/sh
# Installs the packages, from the directory debs if there is one and from Debian otherwise, and what the SDKs expect beside them.
set -eu
cd "$(dirname "$0")"
export DEBIAN_FRONTEND=noninteractive
# Each sandbox has a copy of all files: documents and translations are left out, as in slim images.
printf 'path-exclude=/usr/share/%s/*\n' doc man info help locale >/etc/dpkg/dpkg.cfg.d/slim
if [ -d debs ]; then
	set -- ./debs/*.deb
else
	# shellcheck disable=SC2046 # One word for each package.
	set -- $(sed 's/#.*//' packages)
	apt-get -q update
fi
apt-get -q -y install --no-install-recommends "$@"
apt-get clean
rm -rf /var/lib/apt/lists/*

install -m 755 bin/* /usr/local/bin/
install -m 644 -D -t /etc/xdg/xfce4/xfconf/xfce-perchannel-xml xfce/*.xml
# Where the SDKs look for noVNC.
mkdir -p /opt
ln -sfn /usr/share/novnc /opt/noVNC
install -d -o user /var/lib/desktop
