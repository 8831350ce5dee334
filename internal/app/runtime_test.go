package app

import (
	"testing"
	"testing/fstest"
	"time"
)

func TestMemoryIsTheTightestLimit(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	meminfo := file("MemTotal:       16384 kB\nMemFree:         1024 kB\n")
	for _, tc := range []struct {
		name   string
		system fstest.MapFS
		want   int64
	}{
		{"nothing known", fstest.MapFS{}, 0},
		{"host", fstest.MapFS{"proc/meminfo": meminfo}, 16 << 20},
		{"container", fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("8388608\n")}, 8 << 20},
		{"container without limit", fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("max\n")}, 16 << 20},
		{"limit above the host", fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("99999999999\n")}, 16 << 20},
		{
			"slice of a host", fstest.MapFS{
				"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/system.slice/coai.service\n"),
				"sys/fs/cgroup/system.slice/memory.max":              file("4194304\n"),
				"sys/fs/cgroup/system.slice/coai.service/memory.max": file("max\n"),
			}, 4 << 20,
		},
		{
			"version 1", fstest.MapFS{
				"proc/meminfo": meminfo, "proc/self/cgroup": file("9:memory:/x\n"),
				"sys/fs/cgroup/memory/memory.limit_in_bytes": file("2097152\n"),
			}, 2 << 20,
		},
		{
			"version 1 without limit", fstest.MapFS{
				"proc/meminfo": meminfo, "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"),
			}, 16 << 20,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := memory(tc.system); got != tc.want {
				t.Errorf("memory is %d, want %d", got, tc.want)
			}
		})
	}
}

func TestGrowthFollowsWhatIsAllocated(t *testing.T) {
	for _, tc := range []struct {
		name               string
		allocated, scanned uint64
		took               time.Duration
		want               int
	}{
		{"a small heap under load", 100 << 20, 12 << 20, time.Second, 400},
		{"many streams that wait", 4 << 20, 64 << 20, 4 * time.Second, 15},
		{"many streams that come", 40 << 20, 64 << 20, time.Second, 60},
		{"an idle process", 1 << 20, 16 << 20, 2 * time.Minute, 55},
		{"nothing yet", 0, 0, 0, 400},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := growth(tc.allocated, tc.scanned, tc.took, 400); got != tc.want {
				t.Errorf("%d %%, want %d", got, tc.want)
			}
		})
	}
}
