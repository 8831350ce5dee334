package app

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// TuneRuntime sets the pace of the garbage collector and the memory limit of
// this process. The variables GOGC and GOMEMLIMIT, when set, are left to Go.
// system is the root of the file system, where the container's limits are read.
func (c *Config) TuneRuntime(system fs.FS) {
	if !c.hasGOGC {
		debug.SetGCPercent(c.GOGC)
		newPacer(c.GOGC).follow()
	}
	if c.hasLimit {
		return
	}
	limit := int64(c.MemoryLimit)
	if limit == 0 {
		limit = memory(system) / 5 * 4
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
}

// memory is how much this process may use: the tightest limit of its cgroups
// (https://docs.kernel.org/admin-guide/cgroup-v2.html), else the host's memory;
// 0 when unknown, as on other systems than Linux.
func memory(system fs.FS) int64 {
	least := hostMemory(system)
	files := []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}
	for dir := ownCgroup(system); dir != "/" && dir != "."; dir = path.Dir(dir) {
		files = append(files, path.Join("sys/fs/cgroup", dir, "memory.max"))
	}
	for _, name := range files {
		text, err := fs.ReadFile(system, name)
		if err != nil {
			continue
		}
		// Version 2 says "max" for no limit, version 1 a number near the largest.
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err == nil && n > 0 && n < math.MaxInt64/2 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// ownCgroup is the path of this process's group in the version 2 hierarchy.
func ownCgroup(system fs.FS) string {
	text, _ := fs.ReadFile(system, "proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if dir, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Clean("/" + dir)
		}
	}
	return "/"
}

func hostMemory(system fs.FS) int64 {
	text, err := fs.ReadFile(system, "proc/meminfo")
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}
