package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const addon = `mkdir addon && cd addon
echo '{"name": "addon", "version": "1.0.0", "gypfile": true, "scripts": {"install": "node-gyp rebuild"}}' >package.json
echo '{"targets": [{"target_name": "addon", "sources": ["addon.c"]}]}' >binding.gyp
cat >addon.c <<'END'
#include <node_api.h>
static napi_value begin(napi_env env, napi_value exports) { napi_value v; napi_create_int32(env, 42, &v); return v; }
NAPI_MODULE(addon, begin)
END
npm install >log 2>&1 || { cat log >&2; exit 1; }
node -p 'require("./build/Release/addon.node")'`

// TestRecipeNode builds the template of Node.js without a registry, over a base that has other programs of the same names, and uses it
// as people do.
func TestRecipeNode(t *testing.T) {
	srv, api, end := recipeServer(t, "node", "npm", "npx", "pnpm", "yarn")
	packages, err := nodePackages("")
	if err != nil || len(packages) != 4 {
		t.Fatalf("packages.txt has %v, %v", packages, err)
	}
	lines, err := pinned("node", "packages.txt")
	if err != nil {
		t.Fatal(err)
	}
	version := map[string]string{}
	for _, line := range lines {
		version[line[0]] = line[1]
	}
	node := strings.TrimSuffix(strings.TrimPrefix(packages[0].name, "node-linux-"), ".tgz")
	_, node, _ = strings.Cut(node, "-")

	begin := time.Now()
	srv.must(t, "template", "build", recipe(t, "node", "tarballs", paths(packages)), "--name", "node", "--from-template", "other")
	t.Logf("the template was built in %.0f s", time.Since(begin).Seconds())
	begin = time.Now()
	sb, err := api.Create(t.Context(), "node", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("create: %d ms", time.Since(begin).Milliseconds())
	expect(t, api, sb, []expectation{
		{"the first program", "node -p process.version", "v" + node},
		{"versions", "npm --version; npx --version; pnpm --version; yarn --version", strings.Join([]string{version["npm"], version["npm"], version["pnpm"], version["yarn"]}, "\n")},
		{"the search path", "command -v node npm npx pnpm yarn", "/opt/node/bin/node\n/opt/node/bin/npm\n/opt/node/bin/npx\n/opt/node/bin/pnpm\n/opt/node/bin/yarn"},
		{"a shell without a login", "env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=$HOME bash -c 'node -p process.version; npm --version'", "v" + node + "\n" + version["npm"]},
		{"root by sudo", "sudo node -p process.version; sudo npm --version", "v" + node + "\n" + version["npm"]},
		{"a package", "mkdir lib && cd lib && npm init -y >/dev/null && echo 'module.exports = 42' >index.js && npm pack 2>/dev/null", "lib-1.0.0.tgz"},
		{"an install of npm", "mkdir app && cd app && npm init -y >/dev/null && npm install --offline ../lib/lib-1.0.0.tgz >/dev/null && node -p 'require(\"lib\")'", "42"},
		{"an install of pnpm", "mkdir app2 && cd app2 && npm init -y >/dev/null && pnpm install --offline ../lib/lib-1.0.0.tgz >/dev/null && node -p 'require(\"lib\")'", "42"},
		{"an install of Yarn", "mkdir app3 && cd app3 && npm init -y >/dev/null && yarn add --offline $PWD/../lib/lib-1.0.0.tgz >/dev/null && node -p 'require(\"lib\")'", "42"},
		{"an install for all projects", `mkdir tool && cd tool && npm init -y >/dev/null && npm pkg set bin.tool=tool.js && printf '#!/usr/bin/env node\nconsole.log(6 * 7)\n' >tool.js &&
			npm pack >/dev/null 2>&1 && npm install -g --offline ./tool-1.0.0.tgz >/dev/null && tool && npm uninstall -g tool >/dev/null && pnpm add -g --offline ./tool-1.0.0.tgz >/dev/null && tool`, "42\n42"},
		{"a native add-on", addon, "42"},
		{"a server", `cat >server.js <<'END'
require("http").createServer((request, answer) => answer.end("hello from " + process.version)).listen(3000)
END
nohup node server.js >/dev/null 2>&1 &`, ""},
	})
	awaitPort(t, sb, 3000, "hello from v"+node)
	killWritten(t, api, sb)

	srv.refuses(t, packages[0].name+" is not in the directory tarballs", recipe(t, "node", "tarballs", nil))
	damaged := filepath.Join(t.TempDir(), packages[0].name)
	if err := os.WriteFile(damaged, []byte("another file"), 0o644); err != nil {
		t.Fatal(err)
	}
	srv.refuses(t, packages[0].name+" is not what packages.txt expects", recipe(t, "node", "tarballs", []string{damaged}))

	// From a registry, and over the base as it is.
	online := filepath.Join(recipesDir, "node")
	srv.refuses(t, "did not give "+packages[0].name, online, "--build-arg", "NPM_REGISTRY="+registryURL+"/nothing")
	srv.must(t, "template", "build", online, "--name", "node", "--build-arg", "NPM_REGISTRY="+registryURL)
	if sb, err = api.Create(t.Context(), "node", time.Hour); err != nil {
		t.Fatal(err)
	}
	expect(t, api, sb, []expectation{{"versions from a registry", "node -p process.version; npm --version", "v" + node + "\n" + version["npm"]}})
	killWritten(t, api, sb)
	srv.must(t, "template", "rm", "node")
	srv.must(t, "template", "rm", "other")
	end()
}
