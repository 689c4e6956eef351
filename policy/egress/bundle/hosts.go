package bundle

// bundles are the hosts by service. A host serves the service alone, or its operator's other services. One that serves
// whatever its customers upload, such as storage.googleapis.com, is in no bundle, and neither is a wildcard for such hosts
// (*.cloudfront.net, *.amazonaws.com): each would open the way to everybody's servers. The name of one bucket that
// belongs to the service is not such a host. Where a service redirects to what is left out, its comment says so.
var bundles = map[string][]string{
	// From /etc/apk/repositories of Alpine's images.
	"alpine": {"dl-cdn.alpinelinux.org"},

	// From "Network access requirements" in the documentation of Claude Code, and the default of the SDKs. Its reports of errors go to
	// sentry.io, which is left out.
	"anthropic": {
		"api.anthropic.com",
		"claude.ai",
		"console.anthropic.com",
		"downloads.claude.ai",
		"platform.claude.com",
		"statsig.anthropic.com",
	},

	// Channels of Anaconda and conda-forge, the bucket to which other channels redirect, and the installer of micromamba. From
	// Anaconda's list for firewalls and the documentation of micromamba. Miniforge is on GitHub.
	"conda": {
		"anaconda.org",
		"api.anaconda.org",
		"binstar-cio-packages-prod.s3.amazonaws.com",
		"conda.anaconda.org",
		"micro.mamba.pm",
		"repo.anaconda.com",
	},

	// Index, packages and API of crates.io, as in cargo, and toolchains, as in rustup. Cargo before 1.70 reads its index from
	// GitHub.
	"crates": {
		"crates.io",
		"index.crates.io",
		"sh.rustup.rs",
		"static.crates.io",
		"static.rust-lang.org",
	},

	// From sources.list of Debian's images and installer, and from sources.list(5). Packages of other mirrors are left out. So are SRV
	// records (_http._tcp.deb.debian.org), which lead to names of a provider: apt does without them.
	"debian": {
		"archive.debian.org",
		"deb.debian.org",
		"ftp.debian.org",
		"security.debian.org",
		"snapshot.debian.org",
	},

	// From Docker's allow-list for Docker Desktop, whose names below docker.com and docker.io are wildcards here, since the host
	// that sends layers has changed before. The third is the bucket of the layers. Images of other registries are left out.
	"docker-hub": {
		"*.docker.com",
		"*.docker.io",
		"docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
	},

	// From "domains" of GitHub's API of its metadata, and from its list for self-hosted runners; the bucket is that of Git LFS.
	// Left out are pages of users (*.github.io), and *.blob.core.windows.net, to which artifacts of Actions and packages other than
	// containers redirect. SSH works on port 22 only: on port 443 it is not TLS.
	"github": {
		"*.github.com",
		"*.githubusercontent.com",
		"ghcr.io",
		"github-cloud.s3.amazonaws.com",
		"github.com",
	},

	// Defaults of GOPROXY, GOSUMDB and govulncheck, and the downloads of go.dev. The proxy may redirect to storage.googleapis.com for
	// large modules and toolchains, which is left out. Modules that the proxy does not have need the bundle of their host.
	"go": {
		"dl.google.com",
		"go.dev",
		"proxy.golang.org",
		"sum.golang.org",
		"vuln.go.dev",
	},

	// The endpoint of package huggingface_hub, its short form, and the hosts of files below both: the Hub and Xet change them. Left
	// out are applications of users (*.hf.space) and endpoints (*.endpoints.huggingface.cloud).
	"huggingface": {
		"*.hf.co",
		"*.huggingface.co",
		"hf.co",
		"huggingface.co",
	},

	// Maven Central, as in Maven and in Gradle, and Gradle's plugins. Gradle itself is on GitHub, to which services.gradle.org
	// redirects. Google's repository for Android is left out.
	"maven": {
		"downloads.gradle.org",
		"plugins-artifacts.gradle.org",
		"plugins.gradle.org",
		"repo.maven.apache.org",
		"repo1.maven.org",
		"services.gradle.org",
	},

	// Defaults of npm, Yarn and Corepack, and of node-gyp, which reads headers of Node.js. Programs that a package downloads when it
	// is installed are elsewhere, often on GitHub.
	"npm": {
		"nodejs.org",
		"registry.npmjs.org",
		"registry.yarnpkg.com",
		"repo.yarnpkg.com",
	},

	// Defaults of the SDKs, with the regions, of Codex (its login, and plans of ChatGPT), and of tiktoken: the storage account of its
	// encodings.
	"openai": {
		"*.api.openai.com",
		"api.openai.com",
		"auth.openai.com",
		"chatgpt.com",
		"openaipublic.blob.core.windows.net",
	},

	// Index and files, as in pip and in PyPI's documentation of its API. The host of uploads is left out. The Pythons of uv are on
	// GitHub, and builds of PyTorch for other processors on PyTorch's host.
	"pypi": {
		"files.pythonhosted.org",
		"pypi.org",
	},

	// Defaults of RubyGems and Bundler.
	"rubygems": {
		"index.rubygems.org",
		"rubygems.org",
	},

	// From sources.list of Ubuntu's images for both kinds of architectures and of its installer, which takes the mirror of a country
	// or cloud. Archives of users (PPAs) are left out.
	"ubuntu": {
		"*.archive.ubuntu.com",
		"archive.ubuntu.com",
		"old-releases.ubuntu.com",
		"ports.ubuntu.com",
		"security.ubuntu.com",
	},
}
