package halfclose

import (
	"errors"
	"net"
	"testing"
)

func TestWriteEndsOneSideWhereItCan(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if err := Write(near, near.Close); err != nil {
		t.Error(err)
	}
	if n, err := far.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the peer reads %d bytes, %v", n, err)
	}
	if _, err := far.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := near.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the other side is ended too: %d, %v", n, err)
	}
	whole := errors.New("whole")
	pipe, _ := net.Pipe()
	if err := Write(pipe, func() error { return whole }); !errors.Is(err, whole) {
		t.Errorf("a pipe: %v", err)
	}
}
