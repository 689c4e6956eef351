//go:build linux

// Package trust makes the programs of a guest trust authorities of the host: in the stores of the system, and by the
// variables of programs that bring a store. It works as root on files that the guest may have put there: it waits for
// none of them, and a guest that breaks them harms itself. It may import agent/atomicfile; agent and agent/sudo import it.
package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/rundlet/rundlet/agent/atomicfile"
)

// Own is the file with the authorities alone. update-ca-certificates puts what is in its directory into the stores that it
// makes. anchors is the same for update-ca-trust.
const (
	Own     = "/usr/local/share/ca-certificates/rundlet-egress.crt"
	anchors = "/etc/pki/ca-trust/source/anchors"
)

// bundles are the stores in one file, and hashed the directory of those that OpenSSL looks up by a hash. They are those of
// Debian, Ubuntu and Alpine, of Fedora and Red Hat, and of SUSE. The first that exists is the system's.
var (
	bundles = []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/cacert.pem", "/etc/ssl/cert.pem",
	}
	hashed = "/etc/ssl/certs"
)

// The lines around what is ours in a bundle.
const begin, end = "# Rundlet egress begins\n", "# Rundlet egress ends\n"

// maxBundle bounds what is read of a bundle. Those of distributions have some 220 KiB.
const maxBundle = 8 << 20

// ErrNotCertificates: what is to be trusted has other things in it than certificates in PEM.
var ErrNotCertificates = errors.New("not certificates in PEM")

// Install makes the guest below root trust the authorities in text, and no more those that it was given before. It returns
// what programs need in their environment besides. A store that the guest has broken is left out. Errors are
// ErrNotCertificates, and those of a disk that takes no files. Calls must not overlap.
func Install(root, text string) (env map[string]string, err error) {
	list, err := parse(text)
	if err != nil {
		return nil, err
	}
	former := ours(root)
	env = map[string]string{}
	for _, variable := range added {
		env[variable] = Own
	}
	if isDir(root + anchors) {
		err = errors.Join(err, replace(filepath.Join(root+anchors, "rundlet-egress.pem"), []byte(text), 0o644))
	}
	var done []string
	for _, name := range bundles {
		path, e := fixed(root + name)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		if old, _, e := read(path); e != nil || len(old) == 0 { // It must not hide the roots that programs bring.
			err = errors.Join(err, e)
			continue
		}
		if _, set := env["SSL_CERT_FILE"]; !set {
			for _, variable := range wholeStores {
				env[variable] = name
			}
		}
		if !slices.Contains(done, path) {
			done = append(done, path)
			err = errors.Join(err, extend(path, former, text))
		}
	}
	if isDir(root + hashed) {
		for _, c := range list {
			err = errors.Join(err, link(root, c))
		}
	}
	err = errors.Join(err, addToBrowsers(root, list))
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil, err
	}
	// Last: a call after one that failed must find what the stores had before.
	if err := replace(root+Own, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return env, nil
}

// Variables are the names of all that Install may return.
func Variables() []string { return slices.Concat(added, wholeStores) }

// added are the variables that name a file which is added to what a program brings: of Node and Bun, and of Deno.
var added = []string{"NODE_EXTRA_CA_CERTS", "DENO_CERT"}

// wholeStores are the variables that name a store in place of the one that a program brings: of Python's requests, pip,
// httpx, uv and conda, of curl, of the AWS tools and of gRPC. They have the system's store, so they are only set where there is one.
var wholeStores = []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"}

// parse returns the certificates of a text that has nothing else.
func parse(text string) (list []*x509.Certificate, err error) {
	for rest := []byte(text); len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return nil, ErrNotCertificates
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotCertificates, err)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, ErrNotCertificates
	}
	return list, nil
}

// ours are the authorities of the call before; nil if the guest made something else of them, or others than root could.
func ours(root string) []byte {
	path, err := fixed(root + Own)
	if err != nil {
		return nil
	}
	former, _, err := read(path)
	if err != nil {
		return nil
	}
	if _, err := parse(string(former)); err != nil {
		return nil
	}
	return former
}

// extend puts text at the end of a bundle, in place of what was put there before: by a call, or from Own by
// update-ca-certificates.
func extend(path string, former []byte, text string) error {
	old, mode, err := read(path)
	if err != nil {
		return err
	}
	kept := old
	if before, rest, found := bytes.Cut(old, []byte(begin)); found {
		_, after, _ := bytes.Cut(rest, []byte(end))
		kept = slices.Concat(before, after)
	}
	if len(former) > 0 {
		kept = bytes.ReplaceAll(kept, former, nil)
	}
	if len(kept) > 0 && kept[len(kept)-1] != '\n' {
		kept = append(slices.Clip(kept), '\n')
	}
	if text[len(text)-1] != '\n' {
		text += "\n"
	}
	return replace(path, slices.Concat(kept, []byte(begin+text+end)), mode)
}

// fixed returns where a file is, if others than root can put none in its place: neither where it is named nor where a link
// leads. Else what is read there could be written elsewhere.
func fixed(path string) (string, error) {
	for range 2 {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		for at := dir; ; at = filepath.Dir(at) {
			info, err := os.Lstat(at)
			if err != nil {
				return "", err
			}
			st, ok := info.Sys().(*syscall.Stat_t)
			if others := info.Mode()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0; !ok || st.Uid != 0 || others {
				return "", fmt.Errorf("%s: others than root can change %s", path, at)
			}
			if at == filepath.Dir(at) {
				break
			}
		}
		if path, err = filepath.EvalSymlinks(filepath.Join(dir, filepath.Base(path))); err != nil {
			return "", err
		}
	}
	return path, nil
}

// read reads a regular file.
func read(path string) ([]byte, fs.FileMode, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxBundle {
		return nil, 0, fmt.Errorf("%s is not a file of at most %d bytes", path, maxBundle)
	}
	b, err := io.ReadAll(io.LimitReader(f, info.Size())) // Nothing of an empty one, such as /proc/kmsg, which has no end.
	return b, info.Mode().Perm(), err
}

// replace makes a file what it should be, as a whole, unless it is.
func replace(path string, b []byte, mode fs.FileMode) error {
	if old, _, err := read(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	return atomicfile.Write(path, b, mode)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// maxSame is how many certificates with the same hash are looked at.
const maxSame = 16

// link lets OpenSSL find a certificate by its hash.
func link(root string, c *x509.Certificate) error {
	hash, err := subjectHash(c)
	if err != nil {
		return err
	}
	for i := range maxSame {
		path := fmt.Sprintf("%s/%08x.%d", root+hashed, hash, i)
		switch to, err := os.Readlink(path); {
		case err == nil && to == Own:
			return nil
		case errors.Is(err, fs.ErrNotExist):
			return os.Symlink(Own, path)
		}
	}
	return fmt.Errorf("%s has too many certificates with the hash %08x", hashed, hash)
}
