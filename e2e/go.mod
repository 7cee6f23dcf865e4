module github.com/otelmcp/otelmcp-go/e2e

go 1.26.0
