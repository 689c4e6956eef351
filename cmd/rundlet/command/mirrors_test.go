package command

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMirrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mirror")
	long := filepath.Join(t.TempDir(), "long")
	for path, text := range map[string]string{file: "https://me:secret@mirror.example/hub\n", long: "https://" + strings.Repeat("x", maxMirror)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		texts []string
		want  map[string]string
		err   string
	}{
		"none":          {nil, map[string]string{}, ""},
		"two":           {[]string{"docker.io=https://m.example/a,b", "ghcr.io:443=http://localhost:5000"}, map[string]string{"docker.io": "https://m.example/a,b", "ghcr.io:443": "http://localhost:5000"}, ""},
		"a password":    {[]string{"docker.io=https://me:secret=x@m.example"}, nil, "docker.io=@FILE"},
		"a token":       {[]string{"docker.io=https://secret@m.example"}, nil, "docker.io=@FILE"},
		"of a file":     {[]string{"docker.io=@" + file}, map[string]string{"docker.io": "https://me:secret@mirror.example/hub"}, ""},
		"no file":       {[]string{"docker.io=@" + file + ".none"}, nil, "no such file"},
		"a long file":   {[]string{"docker.io=@" + long}, nil, "at most 4096 bytes"},
		"no host":       {[]string{"https://me:secret@m.example"}, nil, "must be of the form HOST=URL"},
		"no host, =":    {[]string{"https://me:secret=@m.example"}, nil, "must be of the form HOST=URL"},
		"no URL":        {[]string{"docker.io="}, nil, "--mirror of docker.io must have a URL"},
		"a wrong URL":   {[]string{"docker.io=https://me:sec ret secret@m.example:x"}, nil, "--mirror of docker.io must have a URL"},
		"a wrong kind":  {[]string{"docker.io=ftp://me:secret@m.example"}, nil, "--mirror of docker.io must have a URL"},
		"twice the one": {[]string{"docker.io=https://a", "docker.io=https://me:secret@b"}, nil, "has two mirrors"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Mirrors(c.texts)
			if c.err == "" && (err != nil || !maps.Equal(got, c.want)) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%v, %v; want %q", got, err, c.err)
			}
		})
	}
}
