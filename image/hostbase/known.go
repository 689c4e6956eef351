//go:build linux

package hostbase

import (
	"bytes"
	"crypto/md5"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// A check returns what a base takes of a file of the host's /etc, by its name
// below the host's root; ok is false for nothing. It lets through what such a file
// is known to hold and nothing else: administrators write secrets into comments,
// into files that have always been there, and beside them.
type check func(name string, data []byte) (out []byte, ok bool)

// onlyLinks is for directories of links.
func onlyLinks(string, []byte) ([]byte, bool) { return nil, false }

// lines keeps the lines that match, without comments and white space around them.
func lines(pattern string) check {
	re := regexp.MustCompile(`^(` + pattern + `)$`)
	return func(_ string, data []byte) ([]byte, bool) {
		var out bytes.Buffer
		for line := range strings.Lines(string(data)) {
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); re.MatchString(line) {
				out.WriteString(line + "\n")
			}
		}
		return out.Bytes(), out.Len() > 0
	}
}

// loaderCache is for what ldconfig makes, which holds the paths of libraries.
func loaderCache(_ string, data []byte) ([]byte, bool) {
	return data, bytes.HasPrefix(data, []byte("glibc-ld.so.cache")) || bytes.HasPrefix(data, []byte("ld.so-1.7.0"))
}

// certificates keeps the certificates of a PEM file, and nothing between them. It
// takes nothing of other kinds of files: some of those hold private keys.
func certificates(_ string, data []byte) ([]byte, bool) {
	var out bytes.Buffer
	for _, der := range parseCertificates(data) {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // To memory.
	}
	return out.Bytes(), out.Len() > 0
}

func parseCertificates(data []byte) (all [][]byte) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return all
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
			all = append(all, cert.Raw)
		}
	}
}

// distributed takes files that are as the distribution made them.
func (d digests) distributed(name string, data []byte) ([]byte, bool) {
	sum := md5.Sum(data)
	return data, d["/"+name] == hex.EncodeToString(sum[:])
}

// digests are the MD5 sums, in hexadecimal, of files in /etc as the host's
// packages brought them, by absolute path. The package manager has no others.
type digests map[string]string

// packages are patterns of those that have files that distributed is asked about.
var packages = []string{"python3*", "perl*", "openjdk-*", "r-*"}

// readDigests finds none on hosts without dpkg.
func readDigests(hostRoot string) digests {
	d := digests{}
	add := func(path, sum string) {
		if len(sum) == hex.EncodedLen(md5.Size) && strings.HasPrefix(path, "/etc/") {
			d[path] = sum
		}
	}
	dir := filepath.Join(hostRoot, "var/lib/dpkg")
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(status)) {
		// " /etc/name digest", in the list of a package's configuration.
		if fields := strings.Fields(line); strings.HasPrefix(line, " /etc/") && len(fields) == 2 {
			add(fields[0], fields[1])
		}
	}
	for _, pattern := range packages {
		files, _ := filepath.Glob(filepath.Join(dir, "info", pattern+".md5sums"))
		for _, file := range files {
			sums, _ := os.ReadFile(file)
			for line := range strings.Lines(string(sums)) {
				if sum, name, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
					add("/"+name, sum)
				}
			}
		}
	}
	// Files that packages install by asking: "digest  /etc/name".
	asked, _ := os.ReadFile(filepath.Join(hostRoot, "var/lib/ucf/hashfile"))
	for line := range strings.Lines(string(asked)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			add(fields[1], fields[0])
		}
	}
	return d
}
