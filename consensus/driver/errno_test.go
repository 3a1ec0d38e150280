package driver

import "syscall"

const errNoSpace = syscall.ENOSPC
