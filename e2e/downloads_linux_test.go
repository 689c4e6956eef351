package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	// downloadsDir has the files that recipes are built from without a registry.
	downloadsDir    = "downloads"
	downloadTimeout = 10 * time.Minute
	// maxDownload bounds one file, in bytes.
	maxDownload = 256 << 20
)

// download is a file of a registry, as its recipe wants it.
type download struct {
	name, url string
	// check fails for a file that is another one.
	check func(path string) error
}

func (d download) path() string { return filepath.Join(downloadsDir, d.name) }

// get downloads the file, unless it is there. It is there after that, and is the one that the recipe wants.
func (d download) get(ctx context.Context) error {
	if d.check(d.path()) == nil {
		return nil
	}
	if err := os.MkdirAll(downloadsDir, 0o755); err != nil {
		return err
	}
	part := d.path() + ".part"
	err := d.fetch(ctx, part)
	if err == nil {
		err = d.check(part)
	}
	if err == nil {
		err = os.Rename(part, d.path())
	}
	if err != nil {
		return fmt.Errorf("download %s: %w", d.url, err)
	}
	return nil
}

func (d download) fetch(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the registry answers %s", answer.Status)
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, io.LimitReader(answer.Body, maxDownload))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// output is what a program of the host prints, without blanks around it.
func output(ctx context.Context, argv ...string) (string, error) {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if err != nil {
		return "", fmt.Errorf("%q: %w", argv, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// recipe is a directory with a ready recipe, and with files in the directory from which it is built without a registry.
func recipe(t *testing.T, name, offline string, files []string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(recipesDir, name))); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, offline), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		to := filepath.Join(dir, offline, filepath.Base(file))
		if err := os.Link(file, to); err == nil {
			continue
		}
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(to, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
