// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package stack

// Where the system cannot tie a child to its parent, a program that is killed
// leaves its backends behind.

import "syscall"

// Tied has a child end with the program that started it, as far as the system can,
// and keeps the terminal's Ctrl-C from it.
func Tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
