package format

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestANewerNumberIsRefusedByName(t *testing.T) {
	for _, found := range []int64{-1, 0, 10, 11} {
		if err := Check("this state directory", found, 11); err != nil {
			t.Errorf("%d: %v", found, err)
		}
	}
	err := Check("this state directory", 12, 11)
	var newer *NewerError
	if !errors.As(err, &newer) || newer.Found != 12 || newer.Known != 11 {
		t.Fatalf("%v", err)
	}
	if want := "this state directory was written by a newer rundlet: format 12, this program knows 11; use the newer program"; err.Error() != want {
		t.Errorf("%q", err)
	}
}

func TestJSONOfANewerProgramIsRefusedWhateverElseItHas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "record")
	read := func(text string) (id string, err error) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var record struct{ ID string }
		err = ReadJSON("the record in", file, 2, &record)
		return record.ID, err
	}
	for _, text := range []string{`{"format": 2, "id": "a"}`, `{"id": "a"}`} {
		if id, err := read(text); id != "a" || err != nil {
			t.Errorf("%s: %q, %v", text, id, err)
		}
	}
	var newer *NewerError
	if id, err := read(`{"format": 3, "id": ["a"]}`); id != "" || !errors.As(err, &newer) || newer.Found != 3 || newer.Format != "the record in "+file {
		t.Errorf("of a newer program: %q, %v", id, err)
	}
	for _, text := range []string{"", "[]", `{"format": 2, "id": ["a"]}`, `{"format": 2`} {
		if _, err := read(text); err == nil || errors.As(err, &newer) || errors.As(err, new(*fs.PathError)) {
			t.Errorf("damaged %q: %v", text, err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := ReadJSON("the record in", file, 2, new(struct{})); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}
