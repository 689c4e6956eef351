//go:build linux

package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// alias names a certificate of ours in a store of Java.
	alias = "rundlet-egress"
	// maxStores bounds what a guest with many directories of Java costs.
	maxStores = 16
)

// javaHomes are where Java is: of Debian, Fedora and Alpine, and of the images of OpenJDK, Temurin and Oracle.
var javaHomes = []string{"/usr/lib/jvm/*", "/usr/lib/jvm/*/jre", "/usr/local/openjdk-*", "/usr/java/*", "/opt/java/*", "/opt/jdk*"}

// Run runs a program of the guest as root, and returns the beginning of its output: see reaper.Reaper.
type Run func(ctx context.Context, argv, env []string) ([]byte, error)

// Java makes the Javas of the guest below root trust the authorities in text, by their keytool. home is another place where
// Java is, or empty. It costs a second for each store that has to be changed, until ctx ends. The error has what each
// store failed with.
func Java(ctx context.Context, root, home, text string, run Run) error {
	list, err := parse(text)
	if err != nil {
		return err
	}
	var homes, done []string
	if filepath.IsAbs(home) {
		homes = append(homes, root+filepath.Clean(home))
	}
	for _, pattern := range javaHomes {
		found, _ := filepath.Glob(root + pattern) // The patterns are right.
		homes = append(homes, found...)
	}
	for _, dir := range homes {
		if _, e := os.Stat(dir + "/lib/security/cacerts"); e != nil || len(done) == maxStores {
			continue
		}
		store, e := fixed(dir + "/lib/security/cacerts")
		if e != nil {
			done, err = append(done, dir), errors.Join(err, e)
			continue
		}
		if slices.Contains(done, store) { // Several lead to one store, such as that of Debian.
			continue
		}
		done = append(done, store)
		if e := addToStore(ctx, store, dir+"/bin/keytool", list, run); e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", store, e))
		}
	}
	return err
}

// addToStore changes a copy of a store, and replaces the store by it. keytool reads and keeps both forms that a store may have.
func addToStore(ctx context.Context, store, keytool string, list []*x509.Certificate, run Run) error {
	data, mode, err := read(store)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(list, func(c *x509.Certificate) bool { return !bytes.Contains(data, c.Raw) }) {
		return nil // Certificates are in it as they are.
	}
	if keytool, err = ofRoot(keytool); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rundlet-keystore-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	copied, certificate := filepath.Join(dir, "cacerts"), filepath.Join(dir, "certificate")
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		return err
	}
	change := func(command, name string, args ...string) ([]byte, error) {
		args = append([]string{keytool, command, "-alias", name, "-keystore", copied, "-storepass", "changeit", "-J-Xmx64m"}, args...)
		return run(ctx, args, []string{"PATH=/usr/bin:/bin", "HOME=/root", "LANG=C"})
	}
	for i, c := range list {
		if err := os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
			return err
		}
		name := strings.TrimSuffix(fmt.Sprintf("%s-%d", alias, i), "-0")
		add := func() ([]byte, error) { return change("-importcert", name, "-noprompt", "-file", certificate) }
		if _, err := add(); err == nil {
			continue
		}
		_, _ = change("-delete", name) // A former one has the name, or the next call says what is wrong.
		if out, err := add(); err != nil {
			return fmt.Errorf("keytool: %w: %.300q", err, out)
		}
	}
	if data, _, err = read(copied); err != nil {
		return err
	}
	return replace(store, data, mode)
}

// ofRoot returns what leads to a program that others than root cannot change: it is run as root.
func ofRoot(program string) (string, error) {
	path, err := fixed(program)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a program of root", path)
	}
	return path, nil
}
