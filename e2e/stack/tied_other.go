// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package stack

// Where the system cannot tie a child to its parent, a program that is killed
// leaves its backends behind.

import "syscall"

func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
