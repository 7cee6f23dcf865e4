// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package stack

// A backend does not outlive the program that started it, even if that is killed.

import "syscall"

// Tied has a child end with the program that started it, as far as the system can,
// and keeps the terminal's Ctrl-C from it.
func Tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
