//go:build linux

package files

import (
	"bytes"
	"io"
	"mime/multipart"
	"net/http"
	"testing"
)

func TestPartName(t *testing.T) {
	for in, want := range map[string][2]string{
		`form-data; name="file"; filename="/a/b c.txt"`:              {"file", "/a/b c.txt"},
		`form-data; name="file"; filename="a\"q.txt"`:                {"file", `a"q.txt`},
		`form-data; name="file"; filename*=UTF-8''%e2%82%ac%2Fx.txt`: {"file", "\u20ac/x.txt"},
		"form-data; name=\"file\"; filename=\"\u00fc/x\"":            {"file", "\u00fc/x"},
		`form-data; name="field"`:                                    {"field", ""},
		`attachment; name="file"; filename="x"`:                      {"", ""},
		``:                                                           {"", ""},
		`form-data; name="file`:                                      {"", ""},
	} {
		if field, file := partName(in); field != want[0] || file != want[1] {
			t.Errorf("%s: %q %q", in, field, file)
		}
	}
}

func FuzzPartName(f *testing.F) {
	f.Add(`form-data; name="file"; filename="/a/b c.txt"`)
	f.Fuzz(func(t *testing.T, in string) {
		if field, file := partName(in); field == "" && file != "" && len(file) > len(in) {
			t.Errorf("%q: %q %q", in, field, file)
		}
	})
}

// No body may crash the upload or make it read for ever.
func FuzzMultipart(f *testing.F) {
	f.Add([]byte("--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a/b\"\r\n\r\nx\r\n--B--\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		mr := multipart.NewReader(bytes.NewReader(body), "B")
		for {
			part, err := mr.NextRawPart()
			if err != nil {
				return
			}
			partName(part.Header.Get("Content-Disposition"))
			if n, _ := io.Copy(io.Discard, part); n > int64(len(body)) {
				t.Errorf("%d bytes out of %d", n, len(body))
			}
		}
	})
}

func TestNegotiate(t *testing.T) {
	for in, want := range map[string]string{
		"": "identity", "gzip": "gzip", "gzip, deflate, br": "gzip", "GZIP;q=0.5": "gzip", "br": "identity", "*": "gzip",
		"gzip;q=0": "identity", "identity;q=0": "", "identity;q=0, gzip": "gzip", "*;q=0": "", "gzip;q=0.2, identity;q=0.8": "identity",
		"gzip;q=x": "gzip", ",,;": "identity",
	} {
		r := &http.Request{Header: http.Header{}}
		if in != "" {
			r.Header.Set("Accept-Encoding", in)
		}
		if got, ok := negotiate(r); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", in, got, ok, want)
		}
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("gzip;q=0.2, *;q=0")
	f.Fuzz(func(t *testing.T, in string) {
		got, ok := negotiate(&http.Request{Header: http.Header{"Accept-Encoding": {in}}})
		if ok != (got == "gzip" || got == "identity") {
			t.Errorf("%q: %q %v", in, got, ok)
		}
	})
}
