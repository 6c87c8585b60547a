package lvm

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// waiting lists the processes that wait for a device, cannot be killed and are older
// than the given time, by the name of their program.
func waiting(proc string, longer time.Duration) map[string]int {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil
	}
	uptime, err := os.ReadFile(filepath.Join(proc, "uptime"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(uptime), " ")
	now, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return nil
	}
	found := map[string]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(proc, e.Name(), "stat"))
		if err != nil {
			continue
		}
		name, since, waits := parseStat(string(text))
		if waits && now-since > longer.Seconds() {
			found[name] = pid
		}
	}
	return found
}

// parseStat reads from /proc/N/stat the name of the program, when it was started, in
// seconds since the machine was, and whether it waits for a device.
func parseStat(text string) (name string, since float64, waits bool) {
	// The name, in parentheses, may have any character.
	begin, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if begin < 0 || end < begin {
		return "", 0, false
	}
	fields := strings.Fields(text[end+1:]) // from the third on
	const state, starttime, ticks = 0, 19, 100
	if len(fields) <= starttime || fields[state] != "D" {
		return "", 0, false
	}
	n, err := strconv.ParseFloat(fields[starttime], 64)
	return text[begin+1 : end], n / ticks, err == nil
}
