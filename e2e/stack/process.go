// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package stack

// One backend as a child process: started, awaited, and stopped by the process
// that this program started, never by a name or a port.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	readyTime = 2 * time.Minute  // for a backend to become ready, on a slow and busy machine
	stopTime  = 20 * time.Second // to end by itself before it is killed
	pollTime  = 50 * time.Millisecond
)

// Command says how a backend is run. It is not safe for concurrent use.
type Command struct {
	Name string   // in messages, and of the log file
	Path string   // of the program
	Args []string // without the program's name
	Env  []string // in addition to this process's own, KEY=value
	Dir  string   // where it runs, and writes Name.log
	// Ready is asked until it returns nil.
	Ready func(context.Context) error
}

// Process is a running backend. Its methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	name string
	log  string
	done chan struct{} // closed once it has ended
	err  error         // how, readable then
}

// Start runs c and waits until it is ready. An error says what the backend wrote
// last; nothing is left running then.
func (c Command) Start(ctx context.Context) (*Process, error) {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, err
	}
	logName := filepath.Join(c.Dir, c.Name+".log")
	// Appended to: a backend that is started again goes on in its log.
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(c.Path, c.Args...) //nolint:gosec,noctx // runs what the caller says, and longer than ctx
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.SysProcAttr = Tied()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s does not start: %w; build the backends with: make backends", c.Name, err)
	}
	p := &Process{cmd: cmd, name: c.Name, log: logName, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := p.await(ctx, c.Ready); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

func (p *Process) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w\n%s", p.name, p.err, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", p.name, err, p.Tail())
		case <-time.After(pollTime):
		}
	}
}

// Stop asks the backend to end, and kills it if it does not.
func (p *Process) Stop() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s had ended already: %w\n%s", p.name, p.err, p.Tail())
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTime):
		p.Kill()
		return fmt.Errorf("%s did not end within %v and was killed", p.name, stopTime)
	}
}

// Kill ends the backend without a warning, as a crash does.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already, which is as good
	<-p.done
}

// Pause stops the backend's execution, so that it hangs with its connections open,
// until Resume.
func (p *Process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume is the end of Pause.
func (p *Process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Done is closed once the backend has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Tail returns the last of what the backend wrote.
func (p *Process) Tail() string {
	const most = 2000
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}

// Listening is ready once something accepts connections on addr.
func Listening(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// Answering is ready once a GET of url is answered with 200.
func Answering(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, res.Status)
		}
		return nil
	}
}

// Ports that FreeAddress chooses from: below those that systems give to connections
// that go out, one of which could else be there when the port is used.
const firstPort, lastPort = 15000, 30000

var chosen struct {
	sync.Mutex
	ports map[int]bool
}

// FreeAddress returns an address on loopback that nothing listens on now. It returns
// none twice. It may be called from any goroutine.
func FreeAddress() (string, error) {
	chosen.Lock()
	defer chosen.Unlock()
	if chosen.ports == nil {
		chosen.ports = map[int]bool{}
	}
	var err error
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // no secret
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if chosen.ports[port] {
			continue
		}
		if err = free(address); err == nil {
			chosen.ports[port] = true
			return address, nil
		}
	}
	return "", fmt.Errorf("no free port on 127.0.0.1: %w", err)
}

// free reports that something listens on addr.
func free(addr string) error {
	ln, err := net.Listen("tcp", addr) //nolint:noctx // returns at once
	if err != nil {
		return err
	}
	return ln.Close()
}
