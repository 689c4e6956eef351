package readonly

import (
	"encoding/binary"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/rundlet/rundlet/api/gen/envd/filesystempb/filesystempbconnect"
	"github.com/rundlet/rundlet/api/gen/envd/processpb/processpbconnect"
	"github.com/rundlet/rundlet/e2b/internal/refusal"
	"github.com/rundlet/rundlet/envd"
)

// The generated protocol has each call by the name that is known here.
func TestTheCallsAreThoseOfTheProtocol(t *testing.T) {
	want := []string{
		filesystempbconnect.FilesystemStatProcedure, filesystempbconnect.FilesystemListDirProcedure, filesystempbconnect.FilesystemWatchDirProcedure,
		filesystempbconnect.FilesystemCreateWatcherProcedure, filesystempbconnect.FilesystemGetWatcherEventsProcedure,
		filesystempbconnect.FilesystemRemoveWatcherProcedure, processpbconnect.ProcessListProcedure, processpbconnect.ProcessConnectProcedure,
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(calls)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEverythingIsAWriteThatIsNotKnownToBeARead(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		port         uint16
		tunnel       bool
		header       string
		reads        bool
	}{
		{"GET", "/files?path=/a", envd.Port, false, "", true},
		{"HEAD", "/files", envd.Port, false, "", true},
		{"OPTIONS", "/files", envd.Port, false, "", true},
		{"GET", "//files", envd.Port, false, "", true},
		{"GET", "/health", envd.Port, false, "", true},
		{"GET", "/metrics", envd.Port, false, "", true},
		{"GET", "/envs", envd.Port, false, "", true},
		{"POST", "/filesystem.Filesystem/Stat", envd.Port, false, "", true},
		{"POST", "/filesystem.Filesystem/ListDir", envd.Port, false, "", true},
		{"POST", "/filesystem.Filesystem/WatchDir", envd.Port, false, "", true},
		{"POST", "/process.Process/List", envd.Port, false, "", true},
		{"POST", "/process.Process/Connect", envd.Port, false, "", true},
		{"GET", "/", 8000, false, "", true},
		{"HEAD", "/process.Process/Start", 8000, false, "", true},

		{"POST", "/files", envd.Port, false, "", false},
		{"POST", "/files/compose", envd.Port, false, "", false},
		{"GET", "/files/compose", envd.Port, false, "", false},
		{"POST", "/health", envd.Port, false, "", false},
		{"GET", "/", envd.Port, false, "", false},
		{"GET", "/later", envd.Port, false, "", false},
		{"POST", "/filesystem.Filesystem/MakeDir", envd.Port, false, "", false},
		{"POST", "/filesystem.Filesystem/Move", envd.Port, false, "", false},
		{"POST", "/filesystem.Filesystem/Remove", envd.Port, false, "", false},
		{"POST", "/process.Process/Start", envd.Port, false, "", false},
		{"GET", "/process.Process/Start", envd.Port, false, "", false},
		{"POST", "/filesystem.Filesystem/Stat/../../process.Process/Start", envd.Port, false, "", false},
		{"POST", "/process.Process/SendSignal", envd.Port, false, "", false},
		{"POST", "/process.Process/SendInput", envd.Port, false, "", false},
		{"POST", "/process.Process/StreamInput", envd.Port, false, "", false},
		{"POST", "/process.Process/CloseStdin", envd.Port, false, "", false},
		{"POST", "/process.Process/Update", envd.Port, false, "", false},
		{"POST", "/execute", 49999, false, "", false},
		{"GET", "/ws", 8000, false, "websocket", false},
		{"GET", "/", 8000, true, "", false},
		{"DELETE", "/", 8000, false, "", false},
	} {
		r := httptest.NewRequest(tt.method, "http://server"+tt.path, nil)
		if tt.header != "" {
			r.Header.Set("Upgrade", tt.header)
		}
		if got := Allows(r, tt.port, tt.tunnel); got != tt.reads {
			t.Errorf("%s %s of port %d, tunnel %v: a read is %v", tt.method, tt.path, tt.port, tt.tunnel, got)
		}
	}
}

func TestClientsOfConnectAreRefusedInTheirProtocol(t *testing.T) {
	refuse := func(port uint16, header ...string) (*httptest.ResponseRecorder, string) {
		r := httptest.NewRequest("POST", "/process.Process/Start", nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		Refuse(w, r, "i1", port, refusal.NotFresh.With("no route"))
		return w, w.Body.String()
	}
	const wantError = `{"code":"failed_precondition","message":"The checkout in the sandbox is not up to date, so that it can be read only: no route"}`
	w, body := refuse(envd.Port, "Content-Type", "application/connect+json; charset=utf-8")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/connect+json" || len(body) < 5 || body[0] != 2 ||
		int(binary.BigEndian.Uint32([]byte(body[1:5]))) != len(body)-5 || body[5:] != `{"error":`+wantError+`}` {
		t.Errorf("a stream is answered %d %q", w.Code, body)
	}
	if w, body = refuse(envd.Port, "Content-Type", "application/proto", "Connect-Protocol-Version", "1"); w.Code != http.StatusConflict ||
		w.Header().Get("Content-Type") != "application/json" || body != wantError {
		t.Errorf("a call is answered %d %q", w.Code, body)
	}
	for _, port := range []uint16{envd.Port, 8000} {
		if w, body = refuse(port); w.Code != http.StatusConflict || !strings.Contains(body, `"sandboxId":"i1"`) || !strings.Contains(body, "no route") {
			t.Errorf("port %d is answered %d %q", port, w.Code, body)
		}
	}
}
