package runtime

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// command answers a command as the fixture's shell does; without one, as a command that prints "/tmp", or that fails.
func (f *fixture) command(conn net.Conn, id string, req *http.Request) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		return // Its client went away.
	}
	f.mu.Lock()
	shell := f.shell
	f.mu.Unlock()
	output, code := "/tmp\n", 0
	if f.step("command") != nil {
		output = "oops\n"
	}
	if shell != nil {
		var in struct {
			Process struct {
				Cmd  string
				Args []string
				Envs map[string]string
				Cwd  string
			}
			Tag string
		}
		if len(text) < 5 || json.Unmarshal(text[5:], &in) != nil || in.Process.Cmd == "/bin/bash" && len(in.Process.Args) != 3 {
			f.t.Errorf("a command begins with %q", text)
			return
		}
		user, _, _ := req.BasicAuth()
		command := strings.Join(append([]string{in.Process.Cmd}, in.Process.Args...), " ")
		if in.Process.Cmd == "/bin/bash" {
			command = in.Process.Args[2]
		}
		output, code = shell(shellCommand{id, user, command, in.Process.Cwd, req.Header.Get("Connect-Timeout-Ms"), in.Process.Envs, in.Tag})
	}
	if code == brokenOff {
		return
	}
	if code == unknownUser {
		answerConnect(conn, "\x02", `{"error":{"code":"unauthenticated","message":"`+output+`"}}`)
		return
	}
	answerConnect(conn, "\x00", `{"event":{"start":{"pid":1}}}`, `{"event":{"data":{"stdout":"`+base64.StdEncoding.EncodeToString([]byte(output))+`"}}}`,
		fmt.Sprintf(`{"event":{"end":{"exited":true,"exitCode":%d,"status":"exit status %d"}}}`, code, code))
}

// shellCommand is a command that a client gives the shell of a guest.
type shellCommand struct {
	id, user, text, cwd string
	timeout             string // after which the agent ends it, in ms; empty is none
	env                 map[string]string
	tag                 string
}

// brokenOff is the exit code of a command whose connection breaks before it ends.
const brokenOff = -2

// signal ends the commands of a tag.
func (f *fixture) signal(conn net.Conn, id string, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	f.mu.Lock()
	kill := f.kill
	f.mu.Unlock()
	if kill != nil {
		kill(id)
	}
	const none = `{"code":"not_found","message":"tag"}`
	fmt.Fprintf(conn, "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(none), none)
}

// unknownUser is the exit code of a shell that does not begin.
const unknownUser = -1

// answerConnect answers with messages, of which the last may be the end, which says why.
func answerConnect(conn net.Conn, flag string, messages ...string) {
	var body bytes.Buffer
	write := func(flag, message string) {
		body.WriteString(flag)
		binary.Write(&body, binary.BigEndian, uint32(len(message)))
		body.WriteString(message)
	}
	for _, message := range messages {
		write(flag, message)
	}
	if flag == "\x00" {
		write("\x02", "{}")
	}
	fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\nContent-Length: %d\r\n\r\n%s", body.Len(), body.Bytes())
}
