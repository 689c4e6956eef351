package main

import (
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/rundlet/rundlet/agent/embedded"
	"github.com/rundlet/rundlet/image/catalogue"
	"github.com/rundlet/rundlet/image/oci/ocitest"
)

func TestImages(t *testing.T) {
	dirs := home(t)
	layer, err := ocitest.Layer(ocitest.Regular("a", "x"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := ocitest.Image(v1.Config{}, layer)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("mine/app:1")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	if embedded.Digest() == "" { // A build without an agent makes no guests.
		if _, err := cli(t, "image", "load", file); !errors.Is(err, embedded.ErrMissing) {
			t.Errorf("load without an agent: %v", err)
		}
		return
	}
	if out := must(t, "image", "load", file); out != "docker.io/mine/app:1\n" {
		t.Errorf("load prints %q", out)
	}
	loaded := decode[catalogue.Entry](t, must(t, "image", "load", file, "--name", "other", "--json"))
	list := decode[[]catalogue.Entry](t, must(t, "image", "ls", "--json"))
	if len(list) != 2 || list[0].Reference != "docker.io/library/other:latest" || loaded.File != list[1].File {
		t.Errorf("list %+v, loaded %+v", list, loaded)
	}
	if _, err := os.Stat(filepath.Join(dirs.Images(), loaded.File)); err != nil {
		t.Error(err)
	}
	if out := must(t, "image", "ls"); strings.Count(out, "\n") != 3 || !strings.Contains(out, "docker.io/mine/app:1 ") {
		t.Errorf("ls prints %q", out)
	}
	must(t, "image", "rm", "other", loaded.Digest[:20])
	if out := must(t, "image", "ls"); !strings.Contains(out, "<none>") {
		t.Errorf("ls prints %q", out)
	}
	for want, args := range map[string][]string{
		"no such image": {"image", "rm", "none"}, "no such file": {"image", "load", "/nonexistent"}, "--nameserver": {"image", "load", file, "--nameserver", "x"},
		"reference": {"image", "load", file, "--name", "NOT A NAME"}, "need each other": {"image", "pull", "x", "--username", "me"},
		"--mirror of registry.invalid": {"image", "pull", "registry.invalid/x", "--mirror", "registry.invalid=ftp://x"},
	} {
		if _, err := cli(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	if tag, err = name.NewTag(host + "/mine/app"); err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "image", "pull", "registry.invalid/mine/app", "--mirror", "registry.invalid="+server.URL); out != "registry.invalid/mine/app:latest\n" {
		t.Errorf("pull prints %q", out)
	}
	if list := must(t, "image", "ls", "--json", "--state-dir", filepath.Join(t.TempDir(), "empty")); list != "[]\n" {
		t.Errorf("an empty list is %q", list)
	}
}
