package e2b

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rundlet/rundlet/e2b/internal/exchange"
	"github.com/rundlet/rundlet/e2b/internal/quota"
	"github.com/rundlet/rundlet/envd"
	"github.com/rundlet/rundlet/envd/signature"
	"github.com/rundlet/rundlet/sandbox"
)

// inDataplane are rows that only tests of that package can provoke, because they
// need a budget that is used up, or a clock.
var inDataplane = map[string]bool{"too many large headers": true, "response header too slow": true, "checkout being synced": true}

// provocations are requests by the row that they are refused with.
var provocations = map[string]func(n *node, generation string) refused{
	// Of the data plane.
	"gone":        func(n *node, _ string) refused { return toSandbox("gone", 80) },
	"port closed": func(n *node, _ string) refused { return toSandbox(n.sandbox(), 81) },
	"gone, with the reason": func(n *node, _ string) refused {
		n.Fail(errors.Join(&sandbox.OutOfMemoryError{Detail: "out of memory"}, sandbox.ErrNotFound))
		return toSandbox("gone", 80)
	},
	"traffic token missing": func(n *node, _ string) refused { return toSandbox(n.private(), 80) },
	"traffic token invalid": func(n *node, _ string) refused {
		return toSandbox(n.private(), 80, "E2b-Traffic-Access-Token", "wrong")
	},
	"control route": func(n *node, _ string) refused {
		return refused{method: "POST", path: "/init", header: toAgent(n.sandbox()), stranger: true}
	},
	"resume without token": func(n *node, _ string) refused { return toSandbox(n.sleeper(), envd.Port) },
	"resume with a wrong token": func(n *node, _ string) refused {
		return toSandbox(n.sleeper(), envd.Port, "X-Access-Token", "wrong")
	},
	"connection failed": func(n *node, _ string) refused {
		return toSandbox(n.serving(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }), 80)
	},
	"response header too large": func(n *node, _ string) refused {
		return toSandbox(n.serving(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }), 80)
	},
	"too many connections":         failsTo(sandbox.ErrLacking),
	"not resumed":                  resumeFails(errors.New("its cause is secret")),
	"not resumed, with the reason": resumeFails(sandbox.ErrDiskFull),
	"not available":                resumeFails(&sandbox.RetryError{Detail: "its last resume failed"}),
	"checkout not up to date": func(n *node, _ string) refused {
		q := toSandbox(n.gated(sandbox.FreshnessFailed, "no route"), 80)
		q.method = "POST"
		return q
	},
	"not here":                  failsTo(&sandbox.ElsewhereError{What: "node", Theirs: "n1", Ours: "n2"}),
	"starting or shutting down": failsTo(sandbox.ErrUnavailable),
	"still starting": func(*node, string) refused {
		q := toSandbox("i0", 80)
		q.starting = true
		return q
	},
	"too much without a key": func(n *node, _ string) refused {
		n.server.callers.peers.rate = quota.NewRate(1, 1, 1)
		return toSandbox(n.sleeper(), 80)
	},
	"key in the address": func(n *node, _ string) refused {
		return refused{method: "GET", path: "/" + n.key, header: toPort(n.sandbox(), "80"), stranger: true}
	},

	// What E2B's API has.
	"sandbox not found":  func(_ *node, v string) refused { return post(v+"/sandboxes/unknown/connect", `{"timeout":60}`) },
	"template not found": func(_ *node, v string) refused { return post(v+"/sandboxes", `{"templateID":"unknown"}`) },
	"build not found": func(n *node, _ string) refused {
		return refused{method: "GET", path: "/templates/" + n.build("app").template + "/builds/00000000-0000-4000-8000-00000000ffff/status"}
	},
	"tag not found": func(n *node, _ string) refused {
		n.build("app")
		return post("/templates/tags", `{"target":"app:v9","tags":["v1"]}`)
	},
	"build started already": func(n *node, _ string) refused {
		b := n.build("app")
		n.do("POST", "/v2"+b.path(), `{"fromTemplate":"base"}`)
		return post("/v2"+b.path(), `{"fromTemplate":"base"}`)
	},
	"invalid sandbox id": func(_ *node, v string) refused { return post(v+"/sandboxes/UPPER/connect", `{"timeout":60}`) },
	"private without secure": func(*node, string) refused { // The second generation always secures.
		return post("/sandboxes", `{"templateID":"base","network":{"allowPublicTraffic":false}}`)
	},
	"snapshot without memory": func(n *node, _ string) refused {
		return post("/sandboxes/"+n.sandbox()+"/snapshots", `{"memory":false}`)
	},
	"idempotency key of another request": func(n *node, v string) refused {
		n.do("POST", v+"/sandboxes", `{"templateID":"base"}`, "Idempotency-Key", "k")
		return post(v+"/sandboxes", `{"templateID":"base","timeout":7}`, "Idempotency-Key", "k")
	},
	"signature missing": func(*node, string) refused { return refused{method: "GET", path: "/files?path=a", stranger: true} },
	"signature invalid": func(*node, string) refused {
		return refused{method: "GET", path: "/files?path=a&signature=v1_x", stranger: true}
	},
	"signature expired": func(n *node, _ string) refused {
		id, past := n.sleeper(), strconv.FormatInt(time.Now().Unix()-10, 10)
		path := signedFile(signature.Request{Path: "a", Expiration: past}, "token-"+id)
		return refused{method: "GET", path: path, header: toAgent(id), stranger: true}
	},
	"bad routing": func(*node, string) refused {
		return refused{method: "GET", path: "/", header: toAgent("i0")[:2], stranger: true}
	},
	"paused already":  func(n *node, _ string) refused { return post("/sandboxes/"+n.sleeper()+"/pause", "") },
	"running already": func(n *node, _ string) refused { return post("/sandboxes/"+n.sandbox()+"/resume", "") },
	"guest does not answer": func(n *node, v string) refused {
		id := n.do("POST", v+"/sandboxes", `{"templateID":"base"}`).fields(n.t)["sandboxID"].(string)
		return post("/sandboxes/"+id+"/pause", `{"requireHealthyGuest":true}`)
	},
	"guest does not answer after its resume": func(n *node, v string) refused {
		id := n.sleeper()
		n.Transitions.FailResumes(fmt.Errorf("resume: %w", sandbox.ErrNoAnswer))
		return post(v+"/sandboxes/"+id+"/connect", `{"timeout":60}`)
	},
	"invalid":     func(_ *node, v string) refused { return post(v+"/sandboxes", `{"templateID":"base","timeout":0}`) },
	"key missing": func(_ *node, v string) refused { return refused{method: "GET", path: v + "/sandboxes", stranger: true} },
	"key invalid": func(_ *node, v string) refused {
		return refused{method: "GET", path: v + "/sandboxes", header: []string{"X-API-Key", "wrong"}, stranger: true}
	},

	// What is ours.
	"key missing, for a tunnel": func(*node, string) refused { return refused{method: "CONNECT", path: "/", stranger: true} },
	"key invalid, for a tunnel": func(*node, string) refused {
		return refused{method: "CONNECT", path: "/", header: []string{"X-API-Key", "wrong"}, stranger: true}
	},
	"unsupported":               func(_ *node, v string) refused { return post(v+"/sandboxes", `{"templateID":"base","iam":{"a":{}}}`) },
	"unsupported by the driver": createFails(sandbox.ErrUnsupported),
	"build by docker push":      func(*node, string) refused { return post("/templates", `{"dockerfile":"FROM scratch"}`) },
	"conflict of a template": func(n *node, _ string) refused {
		n.build("app")
		n.Fail(sandbox.ErrConflict)
		return refused{method: "GET", path: "/templates/app/tags"}
	},
	"upload link invalid": func(*node, string) refused {
		return refused{method: "PUT", path: "/templates/app/files/" + filesHash + "?signature=v1_x", stranger: true}
	},
	"upload link expired": func(n *node, _ string) refused {
		link := n.server.control.Uploads.URL("", "app", filesHash, "", time.Now().Add(-2*time.Hour))
		return refused{method: "PUT", path: link, stranger: true}
	},
	"too many uploads": func(n *node, _ string) refused {
		n.server.control.Uploads.Budget, n.server.control.Uploads.Wait = quota.NewBudget(0, 0), 0
		return refused{method: "PUT", path: n.server.control.Uploads.URL("", "app", filesHash, "", time.Now()), body: "x"}
	},
	"sandbox not found, with the reason": createFails(errors.Join(&sandbox.OutOfMemoryError{Detail: "out of memory"}, sandbox.ErrNotFound)),
	"snapshot not found":                 createFails(sandbox.ErrSnapshotNotFound),
	"no route":                           func(_ *node, v string) refused { return refused{method: "GET", path: v + "/nothing"} },
	"no such method":                     func(_ *node, v string) refused { return refused{method: "PUT", path: v + "/sandboxes"} },
	"body too large": func(_ *node, v string) refused {
		return post(v+"/sandboxes", `{"templateID":"`+strings.Repeat("x", exchange.MaxBody)+`"}`)
	},
	"header too large": func(_ *node, v string) refused {
		q := refused{method: "GET", path: v + "/sandboxes"}
		for i := range 2400 {
			q.header = append(q.header, "A"+strconv.Itoa(i), "x")
		}
		return q
	},
	"conflict":    createFails(sandbox.ErrConflict),
	"not running": createFails(sandbox.ErrNotRunning),
	"not capturable": func(n *node, _ string) refused {
		id := n.sandbox()
		n.Fail(sandbox.ErrConflict)
		return post("/sandboxes/"+id+"/continuations", `{"reason":"idle"}`)
	},
	"not restorable": createFails(sandbox.ErrNotRestorable),
	"host changed":   createFails(fmt.Errorf("%w: %w", sandbox.ErrNotRestorable, &sandbox.HostChangedError{File: "/usr/lib/libc.so.6", How: "is gone"})),
	"elsewhere":      createFails(&sandbox.ElsewhereError{What: "node", Theirs: "n1", Ours: "n2"}),
	"record changed": createFails(&sandbox.RecordError{Err: errors.New("its cause is secret")}),
	"response not kept": func(n *node, v string) refused {
		n.server.control.Answers.Own, n.server.control.Answers.Shared = quota.NewBudget(2<<10, 2<<10), quota.NewBudget(0, 0)
		body := `{"templateID":"base","metadata":{"a":"` + strings.Repeat("x", 4<<10) + `"}}`
		n.do("POST", v+"/sandboxes", body, "Idempotency-Key", "k")
		return post(v+"/sandboxes", body, "Idempotency-Key", "k")
	},
	"client gone":            createFails(context.Canceled),
	"failed":                 createFails(errors.New("its cause is secret")),
	"no answer of the agent": createFails(sandbox.ErrNoAnswer),
	"too slow":               createFails(context.DeadlineExceeded),
	"out of memory":          createFails(&sandbox.OutOfMemoryError{Detail: "out of memory: 7 MiB"}),
	"disk full":              createFails(sandbox.ErrDiskFull),
	"no capacity":            createFails(sandbox.ErrCapacity),
	"insufficient capacity":  createFails(&sandbox.CapacityError{Resource: "memory", RetryAfter: time.Second}),
	"never fits":             createFails(&sandbox.CapacityError{Resource: "memory"}),
	"queue full":             createFails(&sandbox.CapacityError{Resource: "queue"}),
	"queue timeout":          createFails(&sandbox.CapacityError{Resource: "wait"}),
	"pressure":               createFails(&sandbox.CapacityError{Resource: "pressure"}),
	"lacking":                createFails(sandbox.ErrLacking),
	"sandbox not available":  createFails(&sandbox.RetryError{Detail: "it is being recovered"}),
	"template not available": createFails(&sandbox.PrepareError{Err: errors.New("the registry sends nothing")}),
	"unavailable":            createFails(sandbox.ErrUnavailable),
	"too much without a key, at the API": func(n *node, v string) refused {
		n.server.callers.peers.rate = quota.NewRate(1, 0, 1)
		return refused{method: "GET", path: v + "/sandboxes", header: []string{"X-API-Key", "wrong"}, stranger: true}
	},
	"too many large bodies": func(n *node, v string) refused {
		n.server.control.Bodies.Budget = quota.NewBudget(0, 0)
		return post(v+"/sandboxes", strings.Repeat(" ", exchange.FreeBody)+`{"templateID":"base"}`)
	},
	"too many event streams": func(n *node, _ string) refused {
		n.server.control.Events.MostOfOne = 0
		return refused{method: "GET", path: "/events/stream"}
	},
	"too many responses kept": func(n *node, v string) refused {
		n.server.control.Answers.Own, n.server.control.Answers.Shared = quota.NewBudget(0, 0), quota.NewBudget(0, 0)
		return post(v+"/sandboxes", `{"templateID":"base"}`, "Idempotency-Key", "k")
	},
	"starting": func(_ *node, v string) refused { return refused{method: "GET", path: v + "/sandboxes", starting: true} },
	"too many requests in flight": func(n *node, v string) refused {
		n.server.requests.strangers, n.server.requests.known = quota.NewBudget(0, 0), quota.NewBudget(0, 0)
		return refused{method: "GET", path: v + "/sandboxes"}
	},
}

func post(path, body string, header ...string) refused {
	return refused{method: "POST", path: path, body: body, header: header}
}

func toSandbox(id string, port int, header ...string) refused {
	return refused{method: "GET", path: "/", header: append(toPort(id, strconv.Itoa(port)), header...), stranger: true}
}

// failsTo is a request to a sandbox of which the runtime says err.
func failsTo(err error) func(*node, string) refused {
	return func(n *node, _ string) refused {
		id := n.sandbox()
		n.Fail(err)
		return toSandbox(id, 80)
	}
}

// resumeFails is a request to a paused sandbox whose resume fails.
func resumeFails(err error) func(*node, string) refused {
	return func(n *node, _ string) refused {
		id := n.sleeper()
		n.Transitions.FailResumes(err)
		return toSandbox(id, 80)
	}
}

func createFails(err error) func(*node, string) refused {
	return func(n *node, generation string) refused {
		n.Fail(err)
		return post(generation+"/sandboxes", `{"templateID":"base"}`)
	}
}

// private is a sandbox whose ports need a token.
func (n *node) private() string {
	id := n.sandbox()
	n.Edit(id, func(sb *sandbox.Sandbox) { sb.TrafficAccessToken = "traffic" })
	return id
}

// serving is a sandbox with a program on port 80.
func (n *node) serving(h http.HandlerFunc) string {
	id := n.sandbox()
	n.Listen(id, 80, h)
	return id
}
