package halfclose

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// wire is a connection of TCP.
func wire(t *testing.T) (near, far *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	n, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close(); f.Close() })
	deadline := time.Now().Add(time.Minute)
	_, _ = n.SetDeadline(deadline), f.SetDeadline(deadline)
	return n.(*net.TCPConn), f.(*net.TCPConn)
}

// joined are two ends with a Join between; done is closed when it has returned.
func joined(t *testing.T, stop chan struct{}) (left, right *net.TCPConn, broke *bool, done chan struct{}) {
	left, a := wire(t)
	b, right := wire(t)
	broke, done = new(bool), make(chan struct{})
	go func() {
		defer close(done)
		Join(a, b, stop, func() {
			*broke = true
			_ = a.SetLinger(0)
		})
	}()
	return left, right, broke, done
}

func TestJoinEndsEachSideAfterTheOther(t *testing.T) {
	left, right, broke, done := joined(t, nil)
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		_, _ = left.Write(data)
		_ = left.CloseWrite()
	}()
	if got, err := io.ReadAll(right); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	// The other direction is open yet.
	if _, err := right.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	right.CloseWrite()
	if got, err := io.ReadAll(left); err != nil || string(got) != "answer" {
		t.Errorf("%q, %v", got, err)
	}
	if <-done; *broke {
		t.Error("a regular end was taken for a break")
	}
}

func TestJoinBreaksBoth(t *testing.T) {
	for name, end := range map[string]func(left, right *net.TCPConn, stop chan struct{}){
		"stop": func(_, _ *net.TCPConn, stop chan struct{}) { close(stop) },
		"reset": func(_, right *net.TCPConn, _ chan struct{}) {
			_ = right.SetLinger(0)
			right.Close()
		},
		"stop after one end": func(_, right *net.TCPConn, stop chan struct{}) {
			right.CloseWrite()
			close(stop)
		},
	} {
		t.Run(name, func(t *testing.T) {
			stop := make(chan struct{})
			left, right, broke, done := joined(t, stop)
			end(left, right, stop)
			<-done
			if !*broke {
				t.Error("it was not broken off")
			}
			if _, err := io.ReadAll(left); name != "stop after one end" && err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the other end reads %v", err)
			}
		})
	}
}

// What ends both may end one first, and that must not look like a regular end.
func TestAnEndAfterStopIsNotPassedOn(t *testing.T) {
	near, far := wire(t)
	stop := make(chan struct{})
	close(stop)
	from, gone := wire(t)
	gone.Close()
	if err := pass(near, from, stop); !errors.Is(err, errStopped) {
		t.Error(err)
	}
	if _, err := near.Write([]byte("x")); err != nil {
		t.Errorf("the sending side was ended: %v", err)
	}
	if n, err := far.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
}
