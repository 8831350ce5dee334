package app

import (
	"cmp"
	"runtime/debug"
)

// Version says which build this is.
type Version struct {
	Version  string `json:"version"`            // of the module, (devel) for a local build
	Revision string `json:"revision,omitempty"` // commit
	Time     string `json:"time,omitempty"`     // of the commit
	Modified bool   `json:"modified,omitempty"` // the working tree had changes
	Go       string `json:"go"`
}

// BuildVersion reads what the Go tool stamped into the program.
func BuildVersion() Version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return Version{Version: "(unknown)"}
	}
	v := Version{Version: cmp.Or(info.Main.Version, "(devel)"), Go: info.GoVersion}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is the version for people, on one line.
func (v Version) String() string {
	s := "coai " + v.Version
	if v.Revision != "" {
		s += " " + v.Revision[:min(12, len(v.Revision))]
		if v.Modified {
			s += "-modified"
		}
		s += " (" + v.Time + ")"
	}
	return s + " " + v.Go
}
