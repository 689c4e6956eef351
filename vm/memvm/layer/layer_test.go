package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"testing"
)

func TestArchive(t *testing.T) {
	data, err := Archive(map[string]string{"b": "2", "a": ""})
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(bytes.NewReader(data))
	for _, want := range [][2]string{{"./a", ""}, {"./b", "2"}} {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if content, err := io.ReadAll(r); err != nil || h.Name != want[0] || string(content) != want[1] {
			t.Errorf("%s is %q, %v; want %q", h.Name, content, err, want)
		}
	}
	if h, err := r.Next(); err != io.EOF {
		t.Errorf("%v, %v behind the last one", h, err)
	}
	if _, err := Archive(map[string]string{"a\x00b": ""}); err == nil {
		t.Error("a name that no file has is written")
	}
}
