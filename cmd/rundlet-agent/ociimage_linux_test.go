package main

import (
	"errors"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/guest"
	"github.com/rundlet/rundlet/image/oci/ocitest"
)

// minimalImage writes an OCI layout of two layers: programs with a shell that is not bash, and
// changes over them.
func minimalImage(t *testing.T) string {
	t.Helper()
	programs, err := ocitest.HostPrograms("sh", "ls", "cat", "id", "stat", "env", "df", "touch")
	if err != nil {
		t.Fatal(err)
	}
	first := append(programs,
		ocitest.Symlink("bin", "usr/bin"), ocitest.Symlink("lib", "usr/lib"), ocitest.Symlink("lib64", "usr/lib64"),
		ocitest.Regular("data/old", "old"), ocitest.Regular("data/kept", "kept"), ocitest.Regular("all/gone", "x"), ocitest.HardLink("data/linked", "data/kept"),
		ocitest.Regular("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\n"), ocitest.Regular("etc/group", "root:x:0:\nnode:x:1000:\n"),
		ocitest.Regular("etc/profile", "PATH=/usr/bin\nexport PATH\n"))
	id, err := ocitest.HostPrograms("id")
	if err != nil {
		t.Fatal(err)
	}
	suid := id[0]
	suid.Name, suid.Mode = "usr/bin/idroot", 0o4755
	second := []ocitest.File{ocitest.Regular("data/.wh.old", ""), ocitest.Regular("bin/new", "through a link"), ocitest.Dir("all"), ocitest.Regular("all/.wh..wh..opq", ""),
		ocitest.Regular("all/new", "x"), suid}
	a, errA := ocitest.Layer(first...)
	b, errB := ocitest.Layer(second...)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	image, err := ocitest.Image(v1.Config{Env: []string{"PATH=/opt/bin:/usr/bin"}}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = p.AppendImage(image)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAContainerImageBoots boots what a catalogue makes of an image, in gVisor.
func TestAContainerImageBoots(t *testing.T) {
	n := newNode(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	images, err := catalogue.Open(catalogue.Config{Dir: t.TempDir(), Guest: guest.Config{AgentPath: self}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := images.Load(t.Context(), minimalImage(t), "minimal", nil); err != nil {
		t.Fatal(err)
	}
	root, release, err := images.Image(t.Context(), "minimal")
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	n.spec.Rootfs, n.spec.Mounts, n.spec.Args, n.spec.Env, n.spec.Cwd = root.Spec.Rootfs, root.Spec.Mounts, root.Spec.Args, root.Spec.Env, root.Spec.Cwd
	box := n.boot()
	box.init()
	// A copy from a snapshot has all of it, too.
	for _, b := range append(box.fork(1), box) {
		for command, want := range map[string]string{
			"ls /data":                           "kept\nlinked",
			"cat /bin/new":                       "through a link",
			"ls /all":                            "new",
			"stat -c %h /data/kept":              "2",
			"id user":                            "uid=1001(user) gid=1001(user) groups=1001(user)",
			"echo $PATH":                         "/.rundlet/bin:/opt/bin:/usr/bin",
			"/bin/bash -l -c 'echo $PATH'":       "/.rundlet/bin:/opt/bin:/usr/bin",
			"sudo -u user id -u":                 "1001",
			"sudo -u user idroot -u":             "0",
			"sudo -u user sh -c 'sudo id -u'":    "0",
			"stat -c %a /tmp":                    "1777",
			"sudo -u user touch /tmp/x && id -u": "0",
			"cat /etc/hosts":                     "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 " + b.id,
			"sudo -u user sh -c 'cd; echo x > f; cat f; stat -c %U f'": "x\nuser",
			"cat /etc/shadow >/dev/null && echo readable":              "readable",
			"sudo -u user cat /etc/shadow 2>/dev/null || echo refused": "refused",
		} {
			if got := b.sh(command); got != want {
				t.Errorf("%s: %s\ngot  %q\nwant %q", b.id, command, got, want)
			}
		}
	}
}
