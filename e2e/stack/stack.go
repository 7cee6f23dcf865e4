// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// Package stack runs the backends of examples/stack on loopback, without a
// container engine: the OpenTelemetry Collector, Jaeger, Prometheus and Loki, as
// `make backends` builds them, with the very configuration files that the compose
// file mounts.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
)

// Config says where a stack runs.
type Config struct {
	// Dir is where the backends keep their data and write their logs. It is made if
	// it does not exist.
	Dir string
	// Usual has the backends listen on their usual ports, which must be free, instead
	// of ports that are free now.
	Usual bool
	// Progress is told of each backend that is ready. It may be nil.
	Progress func(name string)
}

// Stack is a set of running backends. The addresses do not change, whatever is
// stopped and started again.
type Stack struct {
	Collector  *Backend
	Jaeger     *Backend
	Prometheus *Backend
	Loki       *Backend

	OTLPGRPC      string // host:port of the collector's OTLP receiver for gRPC
	OTLPHTTP      string // URL of the one for HTTP
	JaegerURL     string
	PrometheusURL string
	LokiURL       string
	EventsFile    string // what the collector writes, OTLP JSON Lines
}

// Backend is one of a stack's processes, which can be stopped and started again
// with the same addresses and data. It is not safe for concurrent use.
type Backend struct {
	Command
	*Process // nil while it is stopped
}

// Start starts the backend, again or for the first time, and waits until it is ready.
func (b *Backend) Start(ctx context.Context) (err error) {
	b.Process, err = b.Command.Start(ctx)
	return err
}

// Stop ends the backend in good order.
func (b *Backend) Stop() error {
	if b.Process == nil {
		return nil
	}
	p := b.Process
	b.Process = nil
	return p.Stop()
}

// Crash kills the backend.
func (b *Backend) Crash() {
	b.Kill()
	b.Process = nil
}

// Root is the folder of the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Program is the path of a program that `make backends` builds.
func Program(name string) string { return filepath.Join(Root(), ".bin", name) }

// ConfigFile is the path of one of the files in examples/stack.
func ConfigFile(name string) string { return filepath.Join(Root(), "examples", "stack", name) }

// Start starts all backends and returns once each is ready. They run until Stop.
func Start(ctx context.Context, c Config) (*Stack, error) {
	s, err := New(c)
	if err != nil {
		return nil, err
	}
	var starting sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, b := range s.backends() {
		starting.Go(func() {
			err := b.Start(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			} else if c.Progress != nil {
				c.Progress(b.Name)
			}
		})
	}
	starting.Wait()
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, s.Stop())...)
	}
	return s, nil
}

// New says how the backends are run, with addresses and folders, and starts none.
func New(c Config) (*Stack, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, err
	}
	var addrErr error
	addr := func(usual string) string {
		if c.Usual {
			if err := free(usual); err != nil {
				addrErr = errors.Join(addrErr, fmt.Errorf("%w: is another stack running?", err))
			}
			return usual
		}
		a, err := FreeAddress()
		addrErr = errors.Join(addrErr, err)
		return a
	}
	otlpGRPC, otlpHTTP := addr("127.0.0.1:4317"), addr("127.0.0.1:4318")
	jaeger, prometheus, loki := addr("127.0.0.1:16686"), addr("127.0.0.1:9090"), addr("127.0.0.1:3100")
	jaegerGRPC, jaegerOTLP, lokiGRPC := addr("127.0.0.1:16685"), addr("127.0.0.1:14317"), addr("127.0.0.1:9096")
	if addrErr != nil {
		return nil, addrErr
	}
	lokiHost, lokiPort, _ := net.SplitHostPort(loki)
	_, lokiGRPCPort, _ := net.SplitHostPort(lokiGRPC)
	s := &Stack{
		OTLPGRPC: otlpGRPC, OTLPHTTP: "http://" + otlpHTTP,
		JaegerURL: "http://" + jaeger, PrometheusURL: "http://" + prometheus, LokiURL: "http://" + loki,
		EventsFile: filepath.Join(dir, "collector", "events.jsonl"),
	}
	s.Collector = &Backend{Command: Command{
		Name: "collector", Path: Program("collector"), Dir: filepath.Join(dir, "collector"),
		Args: []string{"--config", ConfigFile("collector.yaml")},
		Env: []string{
			"OTLP_GRPC_ADDRESS=" + otlpGRPC, "OTLP_HTTP_ADDRESS=" + otlpHTTP,
			"JAEGER_OTLP_ADDRESS=" + jaegerOTLP, "PROMETHEUS_URL=" + s.PrometheusURL, "LOKI_URL=" + s.LokiURL,
			"COLLECTOR_STORAGE=" + filepath.Join(dir, "collector", "queue"), "EVENTS_FILE=" + s.EventsFile,
		},
		Ready: Listening(otlpHTTP),
	}}
	s.Jaeger = &Backend{Command: Command{
		Name: "jaeger", Path: Program("jaeger"), Dir: filepath.Join(dir, "jaeger"),
		Args: []string{"--config", ConfigFile("jaeger.yaml")},
		Env: []string{
			"JAEGER_HTTP_ADDRESS=" + jaeger, "JAEGER_GRPC_ADDRESS=" + jaegerGRPC, "JAEGER_OTLP_ADDRESS=" + jaegerOTLP,
		},
		Ready: Answering(s.JaegerURL + "/api/services"),
	}}
	s.Prometheus = &Backend{Command: Command{
		Name: "prometheus", Path: Program("prometheus"), Dir: filepath.Join(dir, "prometheus"),
		Args: []string{
			"--config.file=" + ConfigFile("prometheus.yml"), "--storage.tsdb.path=" + filepath.Join(dir, "prometheus", "data"),
			"--web.listen-address=" + prometheus, "--web.enable-otlp-receiver",
			"--enable-feature=exemplar-storage,created-timestamp-zero-ingestion", "--log.level=warn",
		},
		Ready: Answering(s.PrometheusURL + "/-/ready"),
	}}
	// Loki's ruler looks for rules in its data, in a folder for each tenant.
	lokiRules := filepath.Join(dir, "loki", "data", "rules", "fake", "alerts.yml")
	rules, err := os.ReadFile(ConfigFile("loki-alerts.yml"))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(lokiRules), 0o700)
	}
	if err == nil {
		err = os.WriteFile(lokiRules, rules, 0o600) //nolint:gosec // in our own folder
	}
	if err != nil {
		return nil, err
	}
	s.Loki = &Backend{Command: Command{
		Name: "loki", Path: Program("loki"), Dir: filepath.Join(dir, "loki"),
		Args: []string{"-config.file=" + ConfigFile("loki.yaml"), "-config.expand-env=true"},
		Env: []string{
			"LOKI_HOST=" + lokiHost, "LOKI_PORT=" + lokiPort, "LOKI_GRPC_PORT=" + lokiGRPCPort,
			"LOKI_DATA=" + filepath.Join(dir, "loki", "data"),
		},
		Ready: Answering(s.LokiURL + "/ready"),
	}}
	return s, nil
}

func (s *Stack) backends() []*Backend {
	return []*Backend{s.Jaeger, s.Prometheus, s.Loki, s.Collector}
}

// Stop ends all backends, the collector first, so that what it still holds gets
// to where it belongs.
func (s *Stack) Stop() error {
	errs := []error{s.Collector.Stop()}
	for _, b := range s.backends() {
		errs = append(errs, b.Stop())
	}
	return errors.Join(errs...)
}

// Ended says when a backend ends that was not stopped.
func (s *Stack) Ended() <-chan error {
	ended := make(chan error, len(s.backends()))
	for _, b := range s.backends() {
		p := b.Process
		go func() {
			<-p.Done()
			ended <- fmt.Errorf("%s ended: %w\n%s", p.name, p.err, p.Tail())
		}()
	}
	return ended
}

// Env returns the variables that point an instrumented program to the collector,
// with intervals for somebody who is waiting. protocol is http/protobuf or grpc.
func (s *Stack) Env(protocol string) []string {
	endpoint := s.OTLPHTTP
	if protocol == "grpc" {
		endpoint = (&url.URL{Scheme: "http", Host: s.OTLPGRPC}).String()
	}
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + endpoint,
		"OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol,
		"OTEL_METRIC_EXPORT_INTERVAL=1000",
		"OTEL_BSP_SCHEDULE_DELAY=200",
		"OTEL_BLRP_SCHEDULE_DELAY=200",
	}
}
