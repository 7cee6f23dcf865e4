// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the tests, which are outside of the package, have to see of its inside.

import "time"

// HTTPServersUp returns how many HTTP servers are watched for their shutdown,
// and have not begun it.
func HTTPServersUp(i *Instrumentation) int {
	n := 0
	i.edges.http.servers.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// ConnectionsVerified returns how many connections are remembered for their client
// certificates.
func ConnectionsVerified() int {
	n := 0
	verified.Range(func(any, any) bool {
		n++
		return true
	})
	return n
}

// SetGrace sets how long ListenAndServe waits for what is in flight, and returns
// what sets it back.
func SetGrace(d time.Duration) (reset func()) {
	before := graceTime
	graceTime = d
	return func() { graceTime = before }
}
