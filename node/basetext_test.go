package node

import "testing"

func TestBaseIsADirectoryOrAnImage(t *testing.T) {
	for text, want := range map[string]struct {
		image     bool
		container string
	}{"directory": {}, "image": {image: true}, "container:debian:12": {container: "debian:12"}} {
		if image, container, err := ParseBase(text); image != want.image || container != want.container || err != nil {
			t.Errorf("%s is %v, %q, %v", text, image, container, err)
		}
	}
	for _, bad := range []string{"", "Image", "squashfs", "container:", "debian:12"} {
		if _, _, err := ParseBase(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
