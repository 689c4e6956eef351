package command

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// MirrorFlag adds the flag for mirrors of registries. It takes any text, since an error of its parser would show that: Mirrors checks it.
func MirrorFlag(f *pflag.FlagSet, texts *[]string, more string) {
	f.StringArrayVar(texts, "mirror", nil, "HOST=URL of a mirror"+more+" that is tried before the registry of this host, such as docker.io=https://mirror.example/hub; HOST=@FILE reads a URL with a password from a file")
}

// maxMirror bounds the bytes of a file with the URL of a mirror.
const maxMirror = 4096

// Mirrors returns the base URLs by their hosts. Passwords are in no error, and are refused in the command line, which all users of
// this machine can read.
func Mirrors(texts []string) (map[string]string, error) {
	mirrors := map[string]string{}
	for _, text := range texts {
		host, base, ok := strings.Cut(text, "=")
		if !ok || host == "" || strings.ContainsAny(host, "/@ ") {
			return nil, errors.New("--mirror must be of the form HOST=URL, as in docker.io=https://mirror.example")
		}
		if mirrors[host] != "" {
			return nil, fmt.Errorf("--mirror: %s has two mirrors", host)
		}
		file, fromFile := strings.CutPrefix(base, "@")
		if fromFile {
			var err error
			if base, err = readMirror(file); err != nil {
				return nil, fmt.Errorf("--mirror of %s: %w", host, err)
			}
		}
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, fmt.Errorf("--mirror of %s must have a URL of the form https://host/path or https://user:password@host/path", host)
		}
		if u.User != nil && !fromFile {
			return nil, fmt.Errorf("--mirror of %s: all users of this machine can read the password in the command line: write the URL into a file, and use %s=@FILE", host, host)
		}
		mirrors[host] = base
	}
	return mirrors, nil
}

func readMirror(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMirror+1))
	if err == nil && len(text) > maxMirror {
		err = fmt.Errorf("%s must have at most %d bytes", file, maxMirror)
	}
	return strings.TrimSpace(string(text)), err
}
