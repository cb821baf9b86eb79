// Command fewcaps runs a program as root with no capabilities but those that are named by their numbers, as a container runtime does:
//
//	fewcaps 19,38,39 PROGRAM ARGUMENTS…
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// dropBounding is PR_CAPBSET_DROP of include/uapi/linux/prctl.h.
const dropBounding = 24

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: fewcaps NUMBER,NUMBER PROGRAM ARGUMENTS…")
		os.Exit(2)
	}
	if err := run(strings.Split(os.Args[1], ","), os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "fewcaps:", err)
		os.Exit(1)
	}
}

func run(kept, command []string) error {
	program, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	// The bounding set is a thread's own, and the thread that executes keeps it.
	runtime.LockOSThread()
	for capability := 0; ; capability++ {
		if slices.Contains(kept, strconv.Itoa(capability)) {
			continue
		}
		_, _, failed := syscall.RawSyscall(syscall.SYS_PRCTL, dropBounding, uintptr(capability), 0)
		if failed == syscall.EINVAL {
			// The kernel has no more of them.
			break
		}
		if failed != 0 {
			return failed
		}
	}
	return syscall.Exec(program, command, os.Environ())
}
