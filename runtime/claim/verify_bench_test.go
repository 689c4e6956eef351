package claim

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/rundlet/rundlet/runtime/background"
	"github.com/rundlet/rundlet/vm"
)

// BenchmarkVerify is what a restore pays: for files that nothing touched, for
// those that something did, and for the first read of a process.
func BenchmarkVerify(b *testing.B) {
	for name, size := range map[string]int64{"template": 2 << 20, "sandbox": 256 << 20} {
		path := filepath.Join(b.TempDir(), "pages.img")
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			b.Fatal(err)
		}
		files := []vm.SnapshotFile{{Name: "pages.img", Path: path, Bytes: size}}
		group := background.New(context.Background())
		v := newVerifier(group)
		read := func(b *testing.B) {
			b.Helper()
			if _, err := v.contents(context.Background(), "k", files); err != nil {
				b.Fatal(err)
			}
		}
		read(b)
		b.Run(name+"/unchanged", func(b *testing.B) {
			for b.Loop() {
				read(b)
			}
		})
		b.Run(name+"/again", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				v.doubt("k")
				read(b)
			}
		})
		b.Run(name+"/first", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				v.forget("k")
				read(b)
			}
		})
		group.Stop()
		group.Wait()
	}
}
