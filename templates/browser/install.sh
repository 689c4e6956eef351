#!/bin/sh
# Installs the packages, from the directory debs if there is one and from Debian otherwise, and the start command.
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
# Nothing that is installed is started but the start command.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q -y install --no-install-recommends "$@"
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/*

install -m 755 bin/browser /usr/local/bin/browser
install -m 644 -D nginx.conf /etc/browser/nginx.conf
install -d -o user /var/lib/browser
