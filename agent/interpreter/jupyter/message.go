//go:build linux

// Package jupyter runs kernels that speak Jupyter's messaging protocol, one process each, over
// sockets in a private directory. A kernel runs the code of users, so that all it sends is
// bounded and checked. It may import agent/interpreter/kernel, agent/interpreter/zmtp and the
// standard library; only agent/interpreter imports it.
package jupyter

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rundlet/rundlet/agent/interpreter/zmtp"
)

// delimiter stands between the route of a message and its signature.
const delimiter = "<IDS|MSG>"

var errNotOurs = errors.New("the message has another signature")

// header is that of a message.
type header struct {
	ID      string `json:"msg_id"`
	Session string `json:"session"`
	User    string `json:"username"`
	Date    string `json:"date"`
	Type    string `json:"msg_type"`
	Version string `json:"version"`
}

// message is a message of a kernel.
type message struct {
	kind   string
	parent string // The id of the request that it is for.
	// content is nil if it was larger than zmtp.MaxFrame; then dropped is its size.
	content json.RawMessage
	dropped int64
}

// signer signs messages with the key of a connection.
type signer struct {
	key     []byte
	session string
}

func (s signer) sign(parts [][]byte) string {
	mac := hmac.New(sha256.New, s.key)
	for _, p := range parts {
		mac.Write(p)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// request makes the frames of a request.
func (s signer) request(id, kind string, content, metadata any) ([][]byte, error) {
	h := header{ID: id, Session: s.session, User: "user", Date: time.Now().UTC().Format(time.RFC3339Nano), Type: kind, Version: "5.3"}
	parts := make([][]byte, 0, 4)
	for _, v := range []any{h, struct{}{}, metadata, content} {
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		parts = append(parts, text)
	}
	return append([][]byte{[]byte(delimiter), []byte(s.sign(parts))}, parts...), nil
}

// read checks a message of a kernel. A message whose content was too large has a signature that cannot
// be checked; nothing but its size is used.
func (s signer) read(m zmtp.Message) (message, error) {
	at := slices.IndexFunc(m.Frames, func(f []byte) bool { return string(f) == delimiter })
	if at < 0 || len(m.Frames) < at+6 {
		return message{}, errors.New("not a message of Jupyter")
	}
	parts := m.Frames[at+2 : at+6]
	if m.Dropped == 0 && !hmac.Equal([]byte(s.sign(parts)), m.Frames[at+1]) {
		return message{}, errNotOurs
	}
	var h, parent header
	if err := json.Unmarshal(parts[0], &h); err != nil {
		return message{}, fmt.Errorf("header of a message: %w", err)
	}
	if err := json.Unmarshal(parts[1], &parent); err != nil {
		return message{}, fmt.Errorf("parent of a message: %w", err)
	}
	return message{kind: h.Type, parent: parent.ID, content: parts[3], dropped: m.Dropped}, nil
}
