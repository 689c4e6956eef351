// Package layer writes the files of a machine in memory as vm.LayerReader describes them. It imports the standard library only.
package layer

import (
	"archive/tar"
	"bytes"
	"maps"
	"slices"
)

// Archive returns files as a tar file, by name.
func Archive(files map[string]string) ([]byte, error) {
	var data bytes.Buffer
	out := tar.NewWriter(&data)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Name: "./" + name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}
		if err := out.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := out.Write([]byte(files[name])); err != nil {
			return nil, err
		}
	}
	err := out.Close()
	return data.Bytes(), err
}
