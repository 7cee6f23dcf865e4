// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

// The recipes of docs/siem: every configuration is checked, and those that can run
// here do. Events of the example servers go through them at once, to an rsyslog that
// stands for a SIEM, to another collector and to Loki, and have to be found there:
// each once, unchanged, and with an answer to who, what, when, from where, allowed or
// denied and why, with what outcome.

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/otelmcp/otelmcp-go/e2e/stack"
)

// siemFile is the path of a file in docs/siem.
func siemFile(name string) string { return filepath.Join(stack.Root(), "docs", "siem", name) }

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The marks in the heads of the configurations, and in the table of the README.
const (
	markRun    = "Run by the tests"
	markNotRun = "Not run by us"
)

// TestSIEMConfigs checks every collector configuration as far as it can be checked
// here, and that it says which of them nobody here has run.
func TestSIEMConfigs(t *testing.T) {
	ours := collectorComponents(t)
	files, err := filepath.Glob(siemFile("*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no configurations", err)
	}
	readme := readFile(t, siemFile("README.md"))
	var all []string // --config for each that can run beside the others
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			content := readFile(t, file)
			head, _, _ := strings.Cut(content, "\n\n")
			runs := true
			for _, c := range declared(t, content) {
				if !slices.Contains(ours, c) {
					runs = false
				}
			}
			if has := strings.Contains(head, markRun); has != runs {
				t.Errorf("its head says %q: %t; its components are all in our collector: %t", markRun, has, runs)
			}
			if has := strings.Contains(head, markNotRun); has == runs {
				t.Errorf("its head says %q: %t; its components are all in our collector: %t", markNotRun, has, runs)
			}
			row := regexp.MustCompile(`(?m)^\|.*\(` + regexp.QuoteMeta(name) + `\).*$`).FindString(readme)
			if row == "" {
				t.Errorf("the table of the README lacks it")
			} else if not := strings.Contains(row, "not run by us"); not == runs {
				t.Errorf("README: %s", row)
			}
			if runs {
				validate(t, "--config", file)
				if name != "otlp-central.yaml" { // which runs elsewhere
					all = append(all, "--config", file)
				}
			}
		})
	}
	t.Run("together", func(t *testing.T) { validate(t, all...) })
	t.Run("for other hosts", func(t *testing.T) {
		block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readme)
		if block == nil {
			t.Fatal("no TLS in the README")
		}
		tls := filepath.Join(t.TempDir(), "tls.yaml")
		if err := os.WriteFile(tls, []byte(block[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		validate(t, append(slices.Clone(all), "--config", tls)...)
	})
}

// TestSIEMShared checks that what two configurations call the same is the same: run
// together, or in the test below, one of them would get what the other meant.
func TestSIEMShared(t *testing.T) {
	files, err := filepath.Glob(siemFile("*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ file, text string }
	seen := map[string]place{}
	for _, file := range files {
		var config map[string]map[string]any
		if err := yaml.Unmarshal([]byte(readFile(t, file)), &config); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		if name == "otlp-central.yaml" { // which runs elsewhere
			continue
		}
		for _, kind := range componentKinds {
			for id, component := range config[kind] {
				text, err := json.Marshal(component)
				if err != nil {
					t.Fatal(err)
				}
				first, ok := seen[kind+" "+id]
				if !ok {
					seen[kind+" "+id] = place{name, string(text)}
				} else if first.text != string(text) {
					t.Errorf("%s %s in %s is not what it is in %s", kind, id, name, first.file)
				}
			}
		}
		for pipeline := range config["service"]["pipelines"].(map[string]any) { //nolint:forcetypeassert // or it fails
			if first, ok := seen["pipelines "+pipeline]; ok {
				t.Errorf("pipeline %s in %s and in %s", pipeline, name, first.file)
			}
			seen["pipelines "+pipeline] = place{file: name}
		}
	}
}

func validate(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), stack.Program("collector"), append([]string{"validate"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("collector validate: %v\n%s", err, out)
	}
}

// collectorComponents are those in the collector that `make backends` builds, as in
// "exporter file".
func collectorComponents(t *testing.T) (found []string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), stack.Program("collector"), "components").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list map[string]yaml.Node
	if err := yaml.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	for _, kind := range componentKinds {
		var components []struct{ Name string }
		node := list[kind]
		if err := node.Decode(&components); err != nil {
			t.Fatal(kind, err)
		}
		for _, c := range components {
			found = append(found, kind+" "+c.Name)
		}
	}
	return found
}

var componentKinds = []string{"receivers", "processors", "exporters", "connectors", "extensions"}

// declared are the components that a configuration declares. It fails unless its
// pipelines use them all, and no others.
func declared(t *testing.T, content string) (components []string) {
	t.Helper()
	var config struct {
		Receivers, Processors, Exporters, Connectors, Extensions map[string]any
		Service                                                  struct {
			Extensions []string
			Pipelines  map[string]struct{ Receivers, Processors, Exporters []string }
			Telemetry  any
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil {
		t.Fatal(err)
	}
	if len(config.Service.Pipelines) == 0 {
		t.Error("no pipeline")
	}
	used := map[string]bool{}
	use := func(pipeline, kind string, ids []string, in ...map[string]any) {
		for _, id := range ids {
			used[kind+" "+id] = true
			if !slices.ContainsFunc(in, func(m map[string]any) bool { _, ok := m[id]; return ok }) {
				t.Errorf("pipeline %s: %s %s is not declared", pipeline, kind, id)
			}
		}
	}
	for name, p := range config.Service.Pipelines {
		if len(p.Receivers) == 0 || len(p.Exporters) == 0 {
			t.Errorf("pipeline %s has no receiver or no exporter", name)
		}
		use(name, "receivers", p.Receivers, config.Receivers, config.Connectors)
		use(name, "processors", p.Processors, config.Processors)
		use(name, "exporters", p.Exporters, config.Exporters, config.Connectors)
	}
	use("-", "extensions", config.Service.Extensions, config.Extensions)
	for kind, declared := range map[string]map[string]any{
		"receivers": config.Receivers, "processors": config.Processors, "exporters": config.Exporters,
		"extensions": config.Extensions,
	} {
		for id := range declared {
			if !used[kind+" "+id] {
				t.Errorf("%s %s is not used", kind, id)
			}
			name, _, _ := strings.Cut(id, "/")
			components = append(components, kind+" "+name)
		}
	}
	return components
}

// TestSIEMNames checks that RFC 5424's 32 characters are enough for every attribute
// of the registry, and that syslog.md says which names are shortened.
func TestSIEMNames(t *testing.T) {
	names := map[string]bool{}
	generated := readFile(t, filepath.Join(stack.Root(), "docs", "semconv.md"))
	for _, m := range regexp.MustCompile("<a id=\"attribute-[^\"]*\"></a>`([^`]+)`").FindAllStringSubmatch(generated, -1) {
		names[m[1]] = true
	}
	const atLeast = 60
	if len(names) < atLeast {
		t.Fatalf("%d attributes in the registry", len(names))
	}
	doc := readFile(t, siemFile("syslog.md"))
	from := map[string]string{}
	for name := range names {
		short := paramName(name)
		if len(short) > 32 || from[short] != "" {
			t.Errorf("%s would be %s, as is %q", name, short, from[short])
		}
		from[short] = name
		if row := "| `" + name + "` | `" + short + "` |"; short != name && !strings.Contains(doc, row) {
			t.Errorf("syslog.md lacks %s", row)
		}
	}
}

// paramName is the rule of syslog.md for the names of structured data.
func paramName(attribute string) string {
	if rest, ok := strings.CutPrefix(attribute, "otelmcp."); ok && len(attribute) > 32 {
		attribute = rest
	}
	if rest, ok := strings.CutPrefix(attribute, "gen_ai.prompt.variable."); ok {
		attribute = "prompt.variable." + rest
	}
	attribute = regexp.MustCompile(`[^\x21-\x7e]|[="\]]`).ReplaceAllString(attribute, "_")
	return attribute[:min(len(attribute), 32)]
}

// feed is what all recipes together made of the same events.
type feed struct {
	sent   []event // as the other collector of otlp.yaml wrote them
	syslog []event // as an rsyslog understood them
	cef    []event
	ocsf   []event      // whose text is OCSF
	stack  *stack.Stack // with Loki alone
	skip   string       // why there is no rsyslog
}

// TestSIEM sends the events of the examples through every recipe that can run here.
func TestSIEM(t *testing.T) {
	f := runFeed(t)
	t.Run("otlp", f.testOTLP)
	t.Run("syslog", f.testSyslog)
	t.Run("cef", f.testCEF)
	t.Run("ocsf", f.testOCSF)
	t.Run("loki", f.testLoki)
	t.Run("logql", f.testLogQL)
}

// hostile is what breaks formats that are written without care.
const hostile = `x"] [otelmcp@32473 user.id="root"] \ \" | a=b user_id=root \n`

func runFeed(t *testing.T) *feed {
	t.Helper()
	dir := t.TempDir()
	s, err := stack.New(stack.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{stack: s}
	syslogFile, cefFile := filepath.Join(dir, "syslog.jsonl"), filepath.Join(dir, "cef.jsonl")
	centralFile, ocsfFile := filepath.Join(dir, "central.jsonl"), filepath.Join(dir, "ocsf.jsonl")
	gotSyslog, gotCEF := filepath.Join(dir, "got-syslog.jsonl"), filepath.Join(dir, "got-cef.jsonl")
	centralAddress := freeAddress(t)
	cert, key := certificate(t, dir)

	start := func(c stack.Command) *stack.Backend {
		t.Helper()
		b := &stack.Backend{Command: c}
		if err := b.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := b.Stop(); err != nil {
				t.Error(err)
			}
		})
		return b
	}
	stop := func(b *stack.Backend) {
		t.Helper()
		if err := b.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	start(s.Loki.Command)
	central := start(stack.Command{
		Name: "central", Path: stack.Program("collector"), Dir: filepath.Join(dir, "central"),
		Args: []string{"--config", siemFile("otlp-central.yaml"), "--config", noSelfMetrics},
		Env: []string{
			"OTLP_GRPC_ADDRESS=" + centralAddress, "EVENTS_FILE=" + centralFile,
			"OTLP_TLS_CERT_FILE=" + cert, "OTLP_TLS_KEY_FILE=" + key, "OTLP_TLS_CLIENT_CA_FILE=" + cert,
		},
		Ready: stack.Listening(centralAddress),
	})
	// All recipes at once, in one collector.
	collector := start(stack.Command{
		Name: "feed", Path: stack.Program("collector"), Dir: filepath.Join(dir, "feed"),
		Args: []string{
			"--config", siemFile("syslog.yaml"), "--config", siemFile("cef.yaml"),
			"--config", siemFile("loki.yaml"), "--config", siemFile("otlp.yaml"),
			// Soon enough for the relays to see it.
			"--config", "yaml:exporters::file/syslog::rotation::max_megabytes: 4",
			"--config", "yaml:exporters::file/cef::rotation::max_megabytes: 4",
			"--config", intoFile(t, "security-lake.yaml", "awss3/ocsf", ocsfFile, dir), "--config", noSelfMetrics,
		},
		Env: []string{
			"OTLP_GRPC_ADDRESS=" + s.OTLPGRPC, "OTLP_HTTP_ADDRESS=" + strings.TrimPrefix(s.OTLPHTTP, "http://"),
			"SYSLOG_FILE=" + syslogFile, "CEF_FILE=" + cefFile, "LOKI_URL=" + s.LokiURL,
			"SIEM_OTLP_ADDRESS=" + centralAddress, "SIEM_OTLP_CA_FILE=" + cert,
			"SIEM_OTLP_CERT_FILE=" + cert, "SIEM_OTLP_KEY_FILE=" + key,
			"COLLECTOR_STORAGE=" + filepath.Join(dir, "queue"),
		},
		Ready: stack.Listening(s.OTLPGRPC),
	})
	var siem, relaySyslog, relayCEF *stack.Backend
	var root string
	if root, f.skip = rsyslog(t); f.skip == "" {
		syslogAddress, cefAddress := freeAddress(t), freeAddress(t)
		siem = start(rsyslogd(t, root, dir, "siem", filepath.Join(stack.Root(), "e2e", "rsyslog-siem.conf"),
			"WORK", filepath.Join(dir, "siem"), "RFC5424_FILE", gotSyslog, "CEF_FILE", gotCEF,
			"RFC5424_PORT", port(syslogAddress), "CEF_PORT", port(cefAddress)))
		relay := func(name, file, address string) *stack.Backend {
			return start(rsyslogd(t, root, dir, name, siemFile("syslog-relay.conf"),
				"/var/spool/rsyslog", filepath.Join(dir, name), "/var/lib/otelcol/siem/syslog.jsonl", file,
				"siem.example.com", "127.0.0.1", `"601"`, strconv.Quote(port(address))))
		}
		relaySyslog, relayCEF = relay("relay-syslog", syslogFile, syslogAddress), relay("relay-cef", cefFile, cefAddress)
	}

	env := s.Env("http/protobuf")
	// Spans are not sampled, and events have their trace ids all the same.
	env = append(env, "OTEL_TRACES_SAMPLER=always_off", "OTEL_METRICS_EXPORTER=none")
	provoke(t, env)
	if f.skip == "" { // a relay goes on where it was
		stop(relaySyslog)
	}
	runExample(t, "oauth", env...)
	if f.skip == "" {
		if err := relaySyslog.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sendHostile(t, s.OTLPHTTP)
	sendFailed(t, s.OTLPHTTP)
	runExample(t, "quickstart", env...)
	playGaps(t, "changing", env...) // a gap in what is seen, and a tool that is not what it was

	// From here on nothing is sent, and who ends in good order sends off what it has.
	stop(collector)
	stop(central)
	for _, file := range []string{syslogFile, cefFile} {
		if old, _ := filepath.Glob(strings.TrimSuffix(file, ".jsonl") + "-*"); len(old) == 0 {
			t.Errorf("%s was not rotated", file)
		}
	}
	f.sent, f.ocsf = otlpEvents(t, centralFile), otlpEvents(t, ocsfFile)
	if len(f.sent) == 0 {
		t.Fatal("no events")
	}
	if f.skip == "" {
		for _, file := range []string{gotSyslog, gotCEF} {
			eventually(t, func() error {
				if n := len(lines(file)); n < len(f.sent) {
					return fmt.Errorf("%d of %d events in %s\n%s", n, len(f.sent), file, relaySyslog.Tail())
				}
				return nil
			})
		}
		stop(relaySyslog)
		stop(relayCEF)
		stop(siem)
		f.syslog, f.cef = syslogEvents(t, gotSyslog), cefEvents(t, gotCEF)
	}
	return f
}

// noSelfMetrics keeps a collector from listening on the port of its own metrics,
// where another one may be.
const noSelfMetrics = "yaml:service::telemetry::metrics::level: none"

// intoFile is a configuration whose exporter writes a file instead.
func intoFile(t *testing.T, name, exporter, file, dir string) (path string) {
	t.Helper()
	content := readFile(t, siemFile(name))
	var config map[string]any
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(content, exporter, "file/"+name)), &config); err != nil {
		t.Fatal(err)
	}
	config["exporters"] = map[string]any{"file/" + name: map[string]any{"path": file}}
	b, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate is one for both ends of a connection on this host, signed by itself.
func certificate(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("tls.crt", "CERTIFICATE", cert), write("tls.key", "PRIVATE KEY", key)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := stack.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func port(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }

func lines(file string) [][]byte {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // not written yet
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

// rsyslog is the folder that there is an rsyslog in, or why there cannot be one.
// Where Debian's packages can be had, and in CI, there has to be one.
func rsyslog(t *testing.T) (root, missing string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh",
		filepath.Join(stack.Root(), "e2e", "rsyslog.sh"), filepath.Join(stack.Root(), ".bin", "rsyslog"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	const none = 77
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == none && os.Getenv("CI") == "" {
		return "", strings.TrimSpace(stderr.String())
	}
	if err != nil {
		t.Fatalf("rsyslog.sh: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), ""
}

// rsyslogd runs a configuration of rsyslog, after the replacements: pairs of what has
// to be in it and what takes its place.
func rsyslogd(t *testing.T, root, dir, name, file string, replacements ...string) stack.Command {
	t.Helper()
	config := readFile(t, file)
	for k := 0; k < len(replacements); k += 2 {
		if !strings.Contains(config, replacements[k]) {
			t.Fatalf("no %s in %s", replacements[k], file)
		}
	}
	own := filepath.Join(dir, name)
	if err := os.MkdirAll(own, 0o700); err != nil {
		t.Fatal(err)
	}
	written, pid := filepath.Join(own, "rsyslog.conf"), filepath.Join(own, "pid")
	config = strings.NewReplacer(replacements...).Replace(config)
	if err := os.WriteFile(written, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c := stack.Command{
		Name: name, Path: filepath.Join(root, "usr", "sbin", "rsyslogd"), Dir: own,
		Args: []string{"-n", "-f", written, "-i", pid},
		Ready: func(context.Context) error {
			_, err := os.Stat(pid)
			return err
		},
	}
	libraries, _ := filepath.Glob(filepath.Join(root, "usr", "lib", "*-linux-gnu"))
	if root != "/" && len(libraries) == 1 {
		c.Args = append(c.Args, "-M", filepath.Join(libraries[0], "rsyslog"))
		c.Env = []string{"LD_LIBRARY_PATH=" + libraries[0]}
	}
	return c
}

// provoke has a client with a hostile name, and a hostile tool, on the quickstart
// server.
func provoke(t *testing.T, env []string) {
	t.Helper()
	match, stop := serveExample(t, "quickstart", quickstartReady, env...)
	post := func(session string, message any) string {
		body, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, match[1], bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		req.Header.Set("User-Agent", hostile)
		if session != "" {
			req.Header.Set("Mcp-Session-Id", session)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.Header.Get("Mcp-Session-Id")
	}
	type object = map[string]any
	session := post("", object{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": object{
		"protocolVersion": "2025-11-25", "capabilities": object{},
		"clientInfo": object{"name": hostile, "version": hostile + "\n<106>1 - - - - - - forged\r\n"},
	}})
	post(session, object{"jsonrpc": "2.0", "id": hostile, "method": "tools/call", "params": object{
		"name": hostile + "\nforged", "arguments": object{"city": "Oslo"},
	}})
	stop()
}

// sendHostile sends records that otelmcp would not make, since it cleans text first:
// whatever comes in, the formats must hold. One is longer than what rsyslog reads by
// default, and together they are more than a receiver takes at once, and enough to
// have the files of the collector rotate.
func sendHostile(t *testing.T, endpoint string) {
	t.Helper()
	const records = 1000
	bad := hostile + "\r\nCEF:0|x|y|z\x00\x1b[31m\ttab\u2028é"
	type object = map[string]any
	now := time.Now().UnixNano()
	logs := []map[string]any{
		// Not ours, though it looks so at first.
		{"timeUnixNano": "1", "attributes": []object{text("event.name", "program.started")}},
	}
	for k := range records {
		long := strings.Repeat("long", 1000)
		if k == 0 {
			long = strings.Repeat(hostile, 200)
		}
		logs = append(logs, object{
			"timeUnixNano": strconv.FormatInt(now+int64(k), 10), "severityNumber": 17, "eventName": "otelmcp.operation",
			"body": object{"stringValue": bad}, "attributes": []object{
				text("event.name", "otelmcp.operation"), text("otelmcp.role", "server"), text("gen_ai.tool.name", bad),
				text("jsonrpc.request.id", strconv.Itoa(k)), text("long", long),
				text("x=b", "1"), text("x]d", "2"), text(`x"f`, "3"), text("x h", "4"),
				{"key": "list", "value": object{"arrayValue": object{"values": []object{
					{"stringValue": bad}, {"stringValue": "b"},
				}}}},
			},
		})
	}
	sendLogs(t, endpoint, "hostile", `odd "host"`, logs)
}

// failed are the outcomes of calls that were let in and did not succeed, and their
// severities. Whether one that was cancelled had an effect, nobody knows.
var failed = map[string]int{"tool_error": 13, "error": 17, "panic": 17, "cancelled": 9}

// sendFailed sends such calls, by carol, as otelmcp makes them of a server that knows
// her. In the examples, those who are let in succeed.
func sendFailed(t *testing.T, endpoint string) {
	t.Helper()
	var logs []map[string]any
	for outcome, severity := range failed {
		logs = append(logs, map[string]any{
			"timeUnixNano": strconv.FormatInt(time.Now().UnixNano(), 10), "severityNumber": severity,
			"traceId": "1fd0bac7a5f44e1f9d1c8f5e6a7b8c9d", "spanId": "1fd0bac7a5f44e1f",
			"eventName": "otelmcp.operation", "body": map[string]any{"stringValue": "tools/call failing: " + outcome},
			"attributes": []map[string]any{
				text("event.name", "otelmcp.operation"), text("otelmcp.role", "server"), text("otelmcp.transport", "http"),
				text("mcp.method.name", "tools/call"), text("gen_ai.tool.name", "failing"),
				text("user.id", "carol"), text("client.address", "127.0.0.1"),
				text("otelmcp.auth.decision", "allow"), text("otelmcp.auth.reason", "ok"),
				text("otelmcp.outcome", outcome), text("error.type", outcome),
			},
		})
	}
	sendLogs(t, endpoint, "failing", "localhost", logs)
}

// text is an attribute in OTLP JSON.
func text(key, s string) map[string]any {
	return map[string]any{"key": key, "value": map[string]any{"stringValue": s}}
}

func sendLogs(t *testing.T, endpoint, service, host string, logs []map[string]any) {
	t.Helper()
	type object = map[string]any
	body, err := json.Marshal(object{"resourceLogs": []object{{
		"resource":  object{"attributes": []object{text("service.name", service), text("host.name", host)}},
		"scopeLogs": []object{{"logRecords": logs}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint+"/v1/logs", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
}
