//go:build libraries

package analytics

// Nothing builds this file. It tells `go mod tidy` that worker/build.sh takes DuckDB's static libraries from the module
// cache.
import _ "github.com/duckdb/duckdb-go-bindings/lib/linux-amd64"
