package snapshot

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/vm"
)

// digestOf stands for the digest of a file that a test never reads.
var digestOf = strings.Repeat("0a", 32)

// sample is a valid manifest, in canonical form.
func sample() Manifest {
	return Manifest{
		Schema: Schema, ID: "snap-2", Kind: KindPause, Parent: "snap-1", Source: "i0123456789",
		CreatedAt: time.Date(2026, 3, 4, 5, 6, 7, 890, time.UTC),
		Stamp: vm.Stamp{Driver: "gvisor", Version: "v0.0.0-2026", Arch: "amd64", Kernel: "6.8.0", Platform: "systrap",
			Flags: []string{"network=sandbox", "overlay2=all"}, CPUFeatures: []string{"avx", "sse4_2"}},
		Files:      []File{{"checkpoint.img", 12, digestOf}, {"pages.img", 1 << 40, digestOf}},
		SpecDigest: digestOf, Reason: "timeout",
	}
}

func TestManifestSurvivesTheRoundTrip(t *testing.T) {
	want := sample()
	shuffled := sample()
	shuffled.Schema = 0
	shuffled.CreatedAt = want.CreatedAt.In(time.FixedZone("east", 3600))
	shuffled.Files = []File{want.Files[1], want.Files[0]}
	shuffled.Stamp.Flags = []string{"overlay2=all", "network=sandbox", "overlay2=all"}
	shuffled.Stamp.CPUFeatures = []string{"sse4_2", "avx"}
	first, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	data, err := Encode(shuffled)
	if err != nil {
		t.Fatal(err)
	}
	if string(first) != string(data) {
		t.Errorf("one artifact has two forms:\n%s\n%s", first, data)
	}
	if !strings.Contains(string(data), `"created_at":"2026-03-04T05:06:07.00000089Z"`) {
		t.Errorf("no RFC 3339 time in %s", data)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if shuffled.Files[0].Name != "pages.img" || shuffled.Stamp.CPUFeatures[0] != "sse4_2" {
		t.Error("Encode changed its argument")
	}
}

func TestManifestOfAnotherSchemaIsRefusedByName(t *testing.T) {
	for _, data := range []string{`{"schema":2,"id":"a","later":{"x":1}}`, `{"schema":0}`, `{"schema":-1}`} {
		_, err := Decode([]byte(data))
		if !errors.Is(err, ErrSchema) || errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "this program reads 1") {
			t.Errorf("%s: got %v", data, err)
		}
	}
	_, err := Decode([]byte(`{"schema":2}`))
	if !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), "schema 2") || !strings.Contains(err.Error(), "use the newer program") {
		t.Errorf("a newer one: %v", err)
	}
}

func TestManifestThatIsMalformedIsRefused(t *testing.T) {
	good, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"nothing":       "",
		"null":          "null",
		"a list":        "[]",
		"no schema":     `{"id":"a"}`,
		"cut off":       string(good[:len(good)-1]),
		"two":           string(good) + string(good),
		"unknown field": strings.Replace(string(good), `{`, `{"later":1,`, 1),
		"wrong type":    strings.Replace(string(good), `"schema":1`, `"schema":"1"`, 1),
		"placeholder":   strings.Replace(string(good), `2026-03-04T05:06:07.00000089Z`, "now", 1),
		"too large":     string(good) + strings.Repeat(" ", MaxManifestBytes),
	} {
		if _, err := Decode([]byte(data)); !errors.Is(err, ErrMalformed) || len(err.Error()) > 500 {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestManifestRulesHoldForWriterAndReader(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	many := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint("f", i))
		}
		return out
	}
	for name, change := range map[string]func(*Manifest){
		"no id":               func(m *Manifest) { m.ID = "" },
		"id is a path":        func(m *Manifest) { m.ID = "../a" },
		"no kind":             func(m *Manifest) { m.Kind = "" },
		"unknown kind":        func(m *Manifest) { m.Kind = "live" },
		"parent is a path":    func(m *Manifest) { m.Parent = "a/b" },
		"no source":           func(m *Manifest) { m.Source = "" },
		"no time":             func(m *Manifest) { m.CreatedAt = time.Time{} },
		"time of 1970":        func(m *Manifest) { m.CreatedAt = time.Unix(0, 0) },
		"spec digest":         func(m *Manifest) { m.SpecDigest = "abc" },
		"reason of two lines": func(m *Manifest) { m.Reason = "a\nb" },
		"long reason":         func(m *Manifest) { m.Reason = long },
		"continuation why":    func(m *Manifest) { m.Kind, m.Reason = KindContinuation, "timeout" },
		"no files":            func(m *Manifest) { m.Files = nil },
		"many files":          func(m *Manifest) { m.Files = make([]File, MaxFiles+1) },
		"file twice":          func(m *Manifest) { m.Files[1] = m.Files[0] },
		"file without name":   func(m *Manifest) { m.Files[0].Name = "" },
		"file is its parent":  func(m *Manifest) { m.Files[0].Name = ".." },
		"file in a directory": func(m *Manifest) { m.Files[0].Name = "a/b" },
		"file name not UTF-8": func(m *Manifest) { m.Files[0].Name = "\xff" },
		"file name of NUL":    func(m *Manifest) { m.Files[0].Name = "a\x00" },
		"negative size":       func(m *Manifest) { m.Files[0].Bytes = -1 },
		"short digest":        func(m *Manifest) { m.Files[0].SHA256 = digestOf[:62] },
		"upper case digest":   func(m *Manifest) { m.Files[0].SHA256 = strings.ToUpper(digestOf) },
		"no driver":           func(m *Manifest) { m.Stamp.Driver = "" },
		"no version":          func(m *Manifest) { m.Stamp.Version = "" },
		"no arch":             func(m *Manifest) { m.Stamp.Arch = "" },
		"kernel of two lines": func(m *Manifest) { m.Stamp.Kernel = "6.8\n" },
		"empty flag":          func(m *Manifest) { m.Stamp.Flags = []string{""} },
		"long flag":           func(m *Manifest) { m.Stamp.Flags = []string{long} },
		"many flags":          func(m *Manifest) { m.Stamp.Flags = many(maxFlags + 1) },
		"many features":       func(m *Manifest) { m.Stamp.CPUFeatures = many(maxFeatures + 1) },
	} {
		m := sample()
		change(&m)
		if _, err := Encode(m); !errors.Is(err, ErrMalformed) || len(err.Error()) > 500 {
			t.Errorf("%s: Encode says %v", name, err)
		}
		if err := m.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Validate says %v", name, err)
		}
	}
	for _, kind := range []Kind{KindBaseTemplate, KindSnapshot, KindPause, KindFilesystemPause} {
		m := sample()
		m.Kind, m.Parent, m.Reason, m.SpecDigest = kind, "", "", ""
		if _, err := Encode(m); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if kind.Memory() != (kind != KindFilesystemPause) {
			t.Errorf("%s: memory is %v", kind, kind.Memory())
		}
	}
}

func TestManifestAtItsBoundsIsAccepted(t *testing.T) {
	m := sample()
	m.Reason = strings.Repeat("r", maxText)
	m.Files = nil
	for i := range MaxFiles {
		m.Files = append(m.Files, File{fmt.Sprintf("%0*d", maxName, i), 0, digestOf})
	}
	m.Stamp.Flags, m.Stamp.CPUFeatures = nil, nil
	for i := range maxFlags {
		m.Stamp.Flags = append(m.Stamp.Flags, fmt.Sprintf("%0*d", maxText, i))
	}
	for i := range maxFeatures {
		m.Stamp.CPUFeatures = append(m.Stamp.CPUFeatures, fmt.Sprintf("%0*d", maxText, i))
	}
	for _, year := range []int{2000, 9999} {
		m.CreatedAt = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		data, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(data); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%d bytes: %v", len(data), err)
		}
		// The last byte that fits.
		data = append(data, strings.Repeat(" ", MaxManifestBytes-len(data))...)
		if _, err := Decode(data); err != nil {
			t.Error(err)
		}
	}
}

func TestContinuationKeepsItsReason(t *testing.T) {
	for _, reason := range []string{ReasonStopped, ReasonIdle, ReasonExited} {
		m := sample()
		m.Kind, m.Reason = KindContinuation, reason
		data, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Decode(data); err != nil || got.Reason != reason {
			t.Errorf("got %q, %v", got.Reason, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"schema":2}`))
	f.Add([]byte(`{"schema":1,"files":[{"name":"../x","bytes":1e99}]}`))
	f.Add([]byte(strings.Replace(string(good), "avx", `\ud800`, 1)))
	f.Add([]byte(strings.Replace(string(good), "2026", "9999", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrSchema) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Errorf("unclear error %q", err)
			}
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		back, err := Decode(again)
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("round trip: %+v, %v, want %+v", back, err, m)
		}
		for _, file := range m.Files {
			if strings.ContainsAny(file.Name, "/\\\x00\n") || file.Name == ".." {
				t.Errorf("accepted the file name %q", file.Name)
			}
		}
	})
}
