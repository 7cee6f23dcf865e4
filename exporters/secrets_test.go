// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package exporters

// What an operator configures and mistypes is said without the secrets that are in it.

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// endpoints are URLs with a password, such as nobody can use.
var endpoints = []string{
	"http://u:hunter2@host:4318x",
	"http://u:hunter2/x@host",
	"http://u:hunter2%zz@host",
	"http://u:hun ter2hunter2@host",
	"http://u:a@hunter2@host:x",
	"u:hunter2@host:4318",
	"ftp://u:hunter2@host",
	"http://host:x/?api_key=hunter2",
	"http://u:x#hunter2@host:x",
	"http://host:x/#hunter2",
	`http://u:"hunter2"@host:x`,
}

// setUpFails sets up the pipeline, which must fail without a secret.
func setUpFails(t *testing.T) {
	t.Helper()
	unsetenv(t, envObservability)
	var said bytes.Buffer
	p, err := Setup(t.Context(), WithStderr(&said))
	if err == nil {
		_ = p.Shutdown(t.Context())
		t.Fatal("there is no error")
	}
	for at := err; at != nil; {
		if strings.Contains(at.Error(), "hunter2") {
			t.Errorf("a secret is in %T: %v", at, at)
		}
		u, ok := at.(interface{ Unwrap() error })
		if !ok {
			break
		}
		at = u.Unwrap()
	}
	if strings.Contains(said.String(), "hunter2") {
		t.Errorf("a secret was said: %s", said.String())
	}
}

func TestSecretsInSettings(t *testing.T) {
	for _, endpoint := range endpoints {
		t.Run(endpoint, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
			setUpFails(t)
		})
	}
	for _, env := range []string{
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer hunter2,broken",
		"OTEL_EXPORTER_OTLP_LOGS_HEADERS=authorization:hunter2",
		"OTEL_EXPORTER_OTLP_METRICS_HEADERS=api-key=hunter2%zz",
		"OTEL_TRACES_EXPORTER=https://u:hunter2@host",
		"OTEL_METRICS_EXPORTER=https://u:hunter2@host",
		"OTEL_LOGS_EXPORTER=token=hunter2",
		"OTEL_EXPORTER_OTLP_CLIENT_KEY=-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=-----BEGIN PRIVATE KEY-----hunter2",
		"OTEL_RESOURCE_ATTRIBUTES=api_key=hunter2,broken",
		"OTEL_RESOURCE_ATTRIBUTES=url=https://u:hunter2@host/,https://u:hunter2@host/",
	} {
		t.Run(env, func(t *testing.T) {
			name, value, _ := strings.Cut(env, "=")
			t.Setenv(name, value)
			setUpFails(t)
		})
	}
}

func TestSecretsInTheConfigurationFile(t *testing.T) {
	const exporter = `file_format: "1.0"
tracer_provider:
  processors:
    - simple:
        exporter:
          %s:
            endpoint: %s
            %s
`
	files := map[string]string{
		"no YAML":            "file_format: \"1.0\"\nheaders: hunter2: hunter2\n  - hunter2\n",
		"another tag":        "file_format: \"1.0\"\ntracer_provider: hunter2\n",
		"a short one":        "file_format: \"1.0\"\nattribute_limits: {attribute_count_limit: hunter2}\n",
		"with a back tick":   "file_format: \"1.0\"\nattribute_limits: {attribute_count_limit: '`hunter2'}\n",
		"twice":              "file_format: \"1.0\"\nresource: {hunter2: 1, hunter2: 2}\n",
		"an unknown anchor":  "file_format: \"1.0\"\nresource: *hunter2\n",
		"an unclosed string": "file_format: \"1.0\"\nresource: \"hunter2\n",
		"a header list":      fmt.Sprintf(exporter, "otlp_http", "http://localhost:4318", "headers_list: \"authorization=hunter2,hunter2\""),
		"another list":       fmt.Sprintf(exporter, "otlp_http", "http://localhost:4318", "headers_list: \"a b=hunter2\""),
		"headers of a type":  fmt.Sprintf(exporter, "otlp_http", "http://localhost:4318", "headers: hunter2"),
		"a header of a type": fmt.Sprintf(exporter, "otlp_http", "http://localhost:4318", "headers: [hunter2]"),
		"a compression":      fmt.Sprintf(exporter, "otlp_http", "http://localhost:4318", "compression: hunter2"),
		"a timeout":          fmt.Sprintf(exporter, "otlp_http", "http://localhost:4318", "timeout: hunter2"),
	}
	for n, endpoint := range endpoints {
		if !strings.HasPrefix(endpoint, "http://") {
			continue // which the SDK takes
		}
		for _, kind := range []string{"otlp_http", "otlp_grpc"} {
			files[fmt.Sprintf("%s endpoint %d", kind, n)] = fmt.Sprintf(exporter, kind, "'"+endpoint+"'", "timeout: 1000")
		}
	}
	for name, content := range files {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "otel.yaml")
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv(envConfigFile, file)
			setUpFails(t)
		})
	}
}
