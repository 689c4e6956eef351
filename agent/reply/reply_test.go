package reply

import (
	"math"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestError(t *testing.T) {
	w := httptest.NewRecorder()
	Error(w, 404, `path "/a" not found`)
	if w.Code != 404 || w.Body.String() != `{"code":404,"message":"path \"/a\" not found"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Content-Length") != "46" {
		t.Errorf("header %v", h)
	}
}

// A guest's file names reach a reply; bytes that are not UTF-8 must not break it.
func TestErrorOfInvalidText(t *testing.T) {
	w := httptest.NewRecorder()
	Error(w, 400, "a\xffb")
	if got := w.Body.String(); got != `{"code":400,"message":"a\ufffdb"}` {
		t.Errorf("%s", got)
	}
}

func TestJSONOfWhatCannotBeEncoded(t *testing.T) {
	w := httptest.NewRecorder()
	JSON(w, 200, math.NaN())
	if w.Code != 500 || !strings.Contains(w.Body.String(), "encode reply") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
