package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a group uses of the machine. What the kernel does not tell is zero.
type Usage struct {
	Memory    uint64        // bytes, without what only caches files
	Swap      uint64        // bytes
	CPU       time.Duration // processor time since the group was made
	DiskRead  uint64        // bytes
	DiskWrite uint64        // bytes
}

// Usage reads what the group uses.
func (g *Group) Usage() Usage {
	if g.tree.unified {
		return g.usage2()
	}
	return g.usage1()
}

func (g *Group) usage2() (u Usage) {
	dir, ok := g.dir("")
	if !ok {
		return u
	}
	u.Memory = less(number(dir, "memory.current"), keyed(dir, "memory.stat")["file"])
	u.Swap = number(dir, "memory.swap.current")
	u.CPU = time.Duration(keyed(dir, "cpu.stat")["usage_usec"]) * time.Microsecond
	for line := range strings.Lines(content(dir, "io.stat")) {
		// 8:0 rbytes=4096 wbytes=0 rios=1 …
		for word := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(word, "=")
			switch n := parse(value); key {
			case "rbytes":
				u.DiskRead += n
			case "wbytes":
				u.DiskWrite += n
			}
		}
	}
	return u
}

func (g *Group) usage1() (u Usage) {
	if dir, ok := g.dir("memory"); ok {
		used := number(dir, "memory.usage_in_bytes")
		u.Memory = less(used, keyed(dir, "memory.stat")["total_cache"])
		u.Swap = less(number(dir, "memory.memsw.usage_in_bytes"), used)
	}
	if dir, ok := g.dir("cpuacct"); ok {
		u.CPU = time.Duration(number(dir, "cpuacct.usage"))
	}
	dir, ok := g.dir("blkio")
	if !ok {
		return u
	}
	for line := range strings.Lines(content(dir, "blkio.throttle.io_service_bytes_recursive")) {
		// 8:0 Read 4096
		words := strings.Fields(line)
		if len(words) != 3 {
			continue
		}
		switch words[1] {
		case "Read":
			u.DiskRead += parse(words[2])
		case "Write":
			u.DiskWrite += parse(words[2])
		}
	}
	return u
}

// Stall tells how much of the last ten seconds work waited for a resource, in
// percent: some of it, or all of it at once.
type Stall struct{ Some, Full float64 }

// Pressure is how much the processes of a group wait for the machine.
type Pressure struct{ CPU, IO, Memory Stall }

// Pressure reads how much the group waits. ok is false where the kernel does not
// measure it, as it does with version 2 only.
func (g *Group) Pressure() (p Pressure, ok bool) {
	dir, ok := g.dir("")
	if !ok {
		return p, false
	}
	for name, stall := range map[string]*Stall{"cpu": &p.CPU, "io": &p.IO, "memory": &p.Memory} {
		text, err := os.ReadFile(filepath.Join(dir, name+".pressure"))
		if err != nil {
			return Pressure{}, false
		}
		*stall = parsePressure(string(text))
	}
	return p, true
}

// parsePressure reads lines such as "some avg10=0.31 avg60=0.12 avg300=0.02 total=4711".
func parsePressure(text string) (s Stall) {
	for line := range strings.Lines(text) {
		var word string
		var avg float64
		if n, _ := fmt.Sscanf(line, "%s avg10=%f", &word, &avg); n != 2 {
			continue
		}
		switch word {
		case "some":
			s.Some = avg
		case "full":
			s.Full = avg
		}
	}
	return s
}

func content(dir, name string) string {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return string(text)
}

func number(dir, name string) uint64 { return parse(strings.TrimSpace(content(dir, name))) }

// keyed reads a file of lines with a key and a number.
func keyed(dir, name string) map[string]uint64 {
	values := map[string]uint64{}
	for line := range strings.Lines(content(dir, name)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			values[key] = parse(value)
		}
	}
	return values
}

func parse(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// less subtracts two counters that were not read at the same moment.
func less(a, b uint64) uint64 { return a - min(a, b) }
