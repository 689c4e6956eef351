package settle

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rundlet/rundlet/network/namespace"
)

// Watched reads the same net.* keys of a namespace again and again, at the price of one
// system call for each: their files stay open, and no thread has to enter the
// namespace. Not safe for concurrent use; Close frees it.
type Watched struct {
	ns    *os.File
	files map[string]*os.File // by key
}

// Watch returns a Watched of a namespace, which the caller closes after it.
func Watch(ns *os.File) *Watched { return &Watched{ns: ns, files: map[string]*os.File{}} }

// Sysctls does what the function Sysctls does.
func (w *Watched) Sysctls(mend bool, want map[string]string) (lost bool, err error) {
	if w.have(want) {
		return false, nil
	}
	lost, err = Sysctls(w.ns, mend, want)
	for key := range want {
		if f := w.files[key]; f != nil {
			_ = f.Close()
			delete(w.files, key)
		}
	}
	return lost, w.reopen(want, err)
}

// have reports whether all keys are open and have their values. The file of an
// interface that is gone cannot be read any more.
func (w *Watched) have(want map[string]string) bool {
	var value [64]byte
	for key, wanted := range want {
		f := w.files[key]
		if f == nil {
			return false
		}
		n, err := f.ReadAt(value[:], 0)
		if err != nil && err != io.EOF || strings.TrimSpace(string(value[:n])) != wanted {
			return false
		}
	}
	return true
}

// reopen opens the keys that exist, unless err says that there is trouble already.
func (w *Watched) reopen(keys map[string]string, err error) error {
	if err != nil {
		return err
	}
	return namespace.In(w.ns, func() error {
		for key := range keys {
			f, err := os.Open(filepath.Join("/proc/sys/net", key))
			if err == nil {
				w.files[key] = f
			} else if !os.IsNotExist(err) {
				return err
			}
		}
		return nil
	})
}

// Close closes the open files. Sysctls may be called again, and opens them.
func (w *Watched) Close() {
	for _, f := range w.files {
		_ = f.Close()
	}
	clear(w.files)
}
