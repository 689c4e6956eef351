// Package api holds the OpenAPI document that Rundlet serves; it is the source
// of the code in gen. It imports nothing; anybody may import the generated
// packages. `go generate ./api` writes them again. For the protocol of the
// agent that needs protoc, see envd/generate.sh.
package api

//go:generate go run github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2 -config oapi-codegen.yaml openapi.yaml
//go:generate sh envd/generate.sh
