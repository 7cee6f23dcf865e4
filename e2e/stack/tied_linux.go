// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package stack

// A backend does not outlive the program that started it, even if that is killed.

import "syscall"

func tied() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
