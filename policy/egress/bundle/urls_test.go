package bundle_test

import (
	"net/url"
	"slices"
	"testing"

	"github.com/rundlet/rundlet/network/names"
	"github.com/rundlet/rundlet/policy/egress/bundle"
)

// asked are URLs that the usual tools of a service ask, with those to which they are redirected.
var asked = map[string][]string{
	"alpine": {"https://dl-cdn.alpinelinux.org/alpine/v3.22/main/x86_64/APKINDEX.tar.gz"},
	"anthropic": {
		"https://api.anthropic.com/v1/messages", "https://claude.ai/install.sh", "https://claude.ai/oauth/authorize", "https://downloads.claude.ai/claude-code-releases/latest",
		"https://console.anthropic.com/v1/oauth/token", "https://platform.claude.com/v1/oauth/token", "https://statsig.anthropic.com/v1/initialize",
	},
	"conda": {
		"https://repo.anaconda.com/pkgs/main/linux-64/repodata.json.zst", "https://repo.anaconda.com/miniconda/Miniconda3-latest-Linux-x86_64.sh",
		"https://conda.anaconda.org/conda-forge/noarch/repodata.json.zst", "https://binstar-cio-packages-prod.s3.amazonaws.com/a/b",
		"https://micro.mamba.pm/api/micromamba/linux-64/latest", "https://api.anaconda.org/download/conda-forge/micromamba/2.0.0/linux-64/micromamba-2.0.0-0.tar.bz2",
		"https://anaconda.org/conda-forge/numpy/files",
	},
	"crates": {
		"https://index.crates.io/config.json", "https://index.crates.io/se/rd/serde", "https://static.crates.io/crates/serde/1.0.0/download",
		"https://crates.io/api/v1/crates?q=serde", "https://sh.rustup.rs/", "https://static.rust-lang.org/dist/channel-rust-stable.toml",
	},
	"debian": {
		"http://deb.debian.org/debian/dists/bookworm/InRelease", "http://deb.debian.org/debian-security/dists/bookworm-security/InRelease",
		"http://security.debian.org/debian-security/dists/bookworm-security/InRelease", "http://archive.debian.org/debian/dists/buster/InRelease",
		"http://ftp.debian.org/debian/dists/bookworm/InRelease", "https://snapshot.debian.org/archive/debian/20250520T000000Z/dists/bookworm/InRelease",
	},
	"docker-hub": {
		"https://registry-1.docker.io/v2/library/alpine/manifests/latest", "https://index.docker.io/v2/", "https://auth.docker.io/token?service=registry.docker.io",
		"https://production.cloudflare.docker.com/registry-v2/docker/registry/v2/blobs/sha256/a", "https://hub.docker.com/v2/repositories/library/alpine/tags",
		"https://docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com/registry-v2/docker/registry/v2/blobs/sha256/a",
	},
	"github": {
		"https://github.com/git/git.git/info/refs?service=git-upload-pack", "ssh://git@github.com/git/git.git", "https://codeload.github.com/git/git/tar.gz/refs/heads/master",
		"https://objects.githubusercontent.com/github-production-release-asset-2e65be/1", "https://release-assets.githubusercontent.com/github-production-release-asset/1",
		"https://raw.githubusercontent.com/git/git/master/README.md", "https://api.github.com/repos/git/git/releases/latest", "https://uploads.github.com/repos/git/git/releases/1/assets",
		"https://gist.github.com/a/b.git", "https://gist.githubusercontent.com/a/b/raw", "https://media.githubusercontent.com/media/a/b/main/c",
		"https://github-cloud.githubusercontent.com/alambic/media/1", "https://github-cloud.s3.amazonaws.com/alambic/media/1",
		"https://ghcr.io/v2/homebrew/core/git/manifests/latest", "https://pkg-containers.githubusercontent.com/ghcr1/blobs/sha256:a", "https://npm.pkg.github.com/@a/b",
	},
	"go": {
		"https://proxy.golang.org/golang.org/x/text/@v/list", "https://sum.golang.org/lookup/golang.org/x/text@v0.3.0", "https://go.dev/dl/?mode=json",
		"https://dl.google.com/go/go1.25.0.linux-amd64.tar.gz", "https://vuln.go.dev/index/modules.json.gz",
	},
	"huggingface": {
		"https://huggingface.co/api/models/gpt2", "https://huggingface.co/gpt2/resolve/main/config.json", "https://hf.co/gpt2", "https://cdn-lfs.huggingface.co/gpt2/a",
		"https://cdn-lfs.hf.co/gpt2/a", "https://cdn-lfs-us-1.hf.co/repos/a", "https://cas-bridge.xethub.hf.co/xet-bridge-us/a", "https://cas-server.xethub.hf.co/v1/reconstructions/a",
		"https://transfer.xethub.hf.co/xorbs/default/a", "https://datasets-server.huggingface.co/rows", "https://router.huggingface.co/v1/chat/completions",
	},
	"maven": {
		"https://repo.maven.apache.org/maven2/junit/junit/4.13.2/junit-4.13.2.pom", "https://repo1.maven.org/maven2/junit/junit/maven-metadata.xml",
		"https://plugins.gradle.org/m2/a/b/1/b-1.pom", "https://plugins-artifacts.gradle.org/a/b/1/c/b-1.jar",
		"https://services.gradle.org/distributions/gradle-8.14-bin.zip", "https://downloads.gradle.org/distributions/gradle-8.14-bin.zip",
	},
	"npm": {
		"https://registry.npmjs.org/react", "https://registry.npmjs.org/react/-/react-19.0.0.tgz", "https://registry.npmjs.org/-/npm/v1/security/advisories/bulk",
		"https://registry.yarnpkg.com/react", "https://repo.yarnpkg.com/4.9.0/packages/yarnpkg-cli/bin/yarn.js", "https://nodejs.org/download/release/v22.0.0/node-v22.0.0-headers.tar.gz",
	},
	"openai": {
		"https://api.openai.com/v1/responses", "https://eu.api.openai.com/v1/responses", "https://auth.openai.com/oauth/token", "https://chatgpt.com/backend-api/codex/responses",
		"https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken",
	},
	"pypi": {
		"https://pypi.org/simple/requests/", "https://pypi.org/pypi/requests/json", "https://files.pythonhosted.org/packages/a/b/c/requests-2.32.0-py3-none-any.whl",
	},
	"rubygems": {
		"https://rubygems.org/gems/rack-3.0.0.gem", "https://rubygems.org/specs.4.8.gz", "https://index.rubygems.org/versions", "https://index.rubygems.org/info/rack",
	},
	"ubuntu": {
		"http://archive.ubuntu.com/ubuntu/dists/noble/InRelease", "http://security.ubuntu.com/ubuntu/dists/noble-security/InRelease",
		"http://ports.ubuntu.com/ubuntu-ports/dists/noble/InRelease", "http://de.archive.ubuntu.com/ubuntu/dists/noble/InRelease",
		"http://azure.archive.ubuntu.com/ubuntu/dists/noble/InRelease", "http://old-releases.ubuntu.com/ubuntu/dists/artful/InRelease",
	},
}

// A bundle reaches what its tools ask, and has no host that none of them asks.
func TestABundleReachesWhatItsToolsAsk(t *testing.T) {
	for name := range asked {
		if bundle.Hosts(name) == nil {
			t.Errorf("%q is not a bundle", name)
		}
	}
	for _, name := range bundle.Names() {
		allowed := patterns(t, bundle.Prefix+name)
		var hosts []string
		for _, text := range asked[name] {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			hosts = append(hosts, u.Hostname())
			if !names.Match(allowed, u.Hostname(), 0) {
				t.Errorf("%s does not reach %s", name, text)
			}
		}
		for _, pattern := range allowed {
			if !slices.ContainsFunc(hosts, func(host string) bool { return names.Match([]string{pattern}, host, 0) }) {
				t.Errorf("%s has %s, which no URL of the table asks", name, pattern)
			}
		}
	}
}

// The table of the most used ones, host by host, beside names that look alike.
func TestABundleReachesItsServiceOnly(t *testing.T) {
	for name, c := range map[string]struct{ yes, no []string }{
		"pypi":       {[]string{"pypi.org", "PyPI.org.", "files.pythonhosted.org"}, []string{"evil-pypi.org", "pypi.org.evil.example", "upload.pypi.org", "test.pypi.org", "x.pythonhosted.org", "pypi.python.org", "pypi.0rg"}},
		"npm":        {[]string{"registry.npmjs.org"}, []string{"npmjs.org", "registry-npmjs.org", "registry.npmjs.org.evil.example", "registry.npmjs.com", "x.registry.npmjs.org"}},
		"docker-hub": {[]string{"auth.docker.io", "registry-1.docker.io", "production.cloudflare.docker.com"}, []string{"evildocker.io", "docker.io.evil.example", "quay.io", "ghcr.io", "x.r2.cloudflarestorage.com"}},
		"github":     {[]string{"github.com", "codeload.github.com", "objects.githubusercontent.com"}, []string{"evil-github.com", "githubusercontent.com", "github.com.evil.example", "x.github.io", "gitlab.com", "x.blob.core.windows.net"}},
		"go":         {[]string{"proxy.golang.org", "sum.golang.org"}, []string{"golang.org", "goproxy.io", "proxy-golang.org", "github.com", "storage.googleapis.com"}},
		"crates":     {[]string{"index.crates.io", "static.crates.io"}, []string{"x.crates.io", "crates.io.evil.example", "github.com"}},
	} {
		allowed := patterns(t, bundle.Prefix+name)
		for _, host := range c.yes {
			if !names.Match(allowed, host, 0) {
				t.Errorf("%s does not reach %s", name, host)
			}
		}
		for _, host := range c.no {
			if names.Match(allowed, host, 0) {
				t.Errorf("%s reaches %s", name, host)
			}
		}
	}
}
