package usage

import "testing"

// FuzzSegment: what lies in the database is read, or refused, and nothing else.
func FuzzSegment(f *testing.F) {
	c := cell{quarter: 2, names: [dimensions]string{"user_1", "key_1", "echo", "ch_1"}}
	t := new(tally)
	t.record(&rawRecord{names: c.names})
	f.Add(packSegment(map[cell]*tally{c: t}))
	f.Add([]byte{segmentFormat, 1, 200})
	f.Fuzz(func(t *testing.T, data []byte) {
		n := newNames()
		s, err := readSegment(1, data, n)
		if err != nil {
			return
		}
		q := &question{bounds: []int64{0, hourMicros}, group: [dimensions]bool{true, true, true, true}}
		into := counts{}
		if err := q.read(hourSegment{0, s}, into); err != nil {
			return
		}
		for p, counted := range into {
			if p.bucket != 0 || len(counted.latency.counts) > maxBin+1 {
				t.Errorf("%+v: %+v", p, counted)
			}
		}
	})
}
