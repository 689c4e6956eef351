package envd

import "testing"

func TestHostOnly(t *testing.T) {
	for path, want := range map[string]bool{
		InitPath: true, DialPath: true, "/init/": true, "//init": true, "/a/../init": true, "init": true, "/freeze": true,
		"/unfreeze": true, "/collapse": true, "/fsfreeze": true, "/fsthaw": true, "/upgrade": true, "/rundlet": true, "/rundlet/x": true,

		HealthPath: false, MetricsPath: false, EnvsPath: false, FilesPath: false, ComposePath: false,
		"": false, "/": false, "/initial": false, "/files/init": false, "/rundlets": false, "/process.Process/Start": false,
	} {
		if got := HostOnly(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}

func FuzzHostOnly(f *testing.F) {
	for _, s := range []string{"/init", "//init", "/a/../init", "/rundlet/x", "/files", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		// Whatever a mux makes of the path, it must not become one of the host's.
		if !HostOnly(path) && (HostOnly("/"+path) || HostOnly(path+"/") || HostOnly("/./"+path)) {
			t.Fatalf("%q is the host's in another spelling", path)
		}
	})
}
