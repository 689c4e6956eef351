package snapshots

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/cpuid"
)

func TestTheRootIsTheSameAfterAReboot(t *testing.T) {
	cpuid.Initialize()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		change func(*rootfsIdentity)
		fits   bool
	}{
		"as it was":                {func(*rootfsIdentity) {}, true},
		"another number of device": {func(r *rootfsIdentity) { r.Device++ }, true},
		"of an earlier version":    {func(r *rootfsIdentity) { r.Born = 0 }, true},
		"another inode":            {func(r *rootfsIdentity) { r.Inode++ }, false},
		"made at another time":     {func(r *rootfsIdentity) { r.Born++ }, false},
	} {
		m := goodManifest(t, dir)
		if m.Rootfs.Born == 0 {
			t.Fatal("this file system does not say when a directory was made")
		}
		c.change(&m.Rootfs)
		if err := m.compatible(dir, "gvisor", "v1"); (err == nil) != c.fits {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADigestIsOfAllThatIsInADirectory(t *testing.T) {
	root := t.TempDir()
	file, link := filepath.Join(root, "d", "file"), filepath.Join(root, "link")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("a"), 0o644), os.Symlink("d", link)); err != nil {
		t.Fatal(err)
	}
	digest := func() string {
		t.Helper()
		sum, err := treeDigest(root)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	was := digest()
	if err := os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if digest() != was {
		t.Error("times are in it")
	}
	for _, change := range []struct {
		what string
		do   func() error
	}{
		{"content", func() error { return os.WriteFile(file, []byte("b"), 0o644) }},
		{"mode", func() error { return os.Chmod(file, 0o755) }},
		{"owner", func() error { return os.Chown(file, 7, 0) }},
		{"link", func() error { return errors.Join(os.Remove(link), os.Symlink("e", link)) }},
		{"name", func() error { return os.Rename(file, file+"s") }},
		{"a new directory", func() error { return os.Mkdir(filepath.Join(root, "new"), 0o755) }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		now := digest()
		if now == was {
			t.Errorf("%s is not in it", change.what)
		}
		was = now
	}
	// Snapshots of earlier versions have the digest of a sudo that was set-uid.
	sudo := filepath.Join(root, formerSetUID)
	if err := errors.Join(os.MkdirAll(filepath.Dir(sudo), 0o755), os.WriteFile(sudo, nil, 0o755), os.Chmod(sudo, 0o755|os.ModeSetuid)); err != nil {
		t.Fatal(err)
	}
	was = digest()
	if err := os.Chmod(sudo, 0o755); err != nil {
		t.Fatal(err)
	}
	if digest() != was {
		t.Error("the digest is another one without the bit of sudo")
	}
}
