//go:build linux

package treetest_test

import (
	"encoding/json"
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	. "snap-to-s3/internal/filesystem/treetest"
)

// What sfdisk reads back is what the facts say, and each filesystem is where
// they say.
func TestDisks(t *testing.T) {
	for name, plan := range Disks() {
		t.Run(name, func(t *testing.T) {
			image, facts := Disk(t, plan)
			for _, p := range facts.Partitions {
				if p.Want == nil {
					continue
				}
				at := Mounted(t, image, p.Start)
				if d := Diff(p.Want, Read(t, at, ReadOptions{}), DiffOptions{}); len(d) > 0 {
					t.Errorf("partition %d: %q", p.Number, d)
				}
				Unmount(t, at)
			}
			if facts.Table == "" {
				return
			}
			got := sfdisk(t, Loop(t, image, facts.Sector))
			if len(got) != len(facts.Partitions) {
				t.Errorf("sfdisk finds %d partitions, want %d", len(got), len(facts.Partitions))
			}
			for _, p := range facts.Partitions {
				if want := [2]int64{p.Start / facts.Sector, p.Length / facts.Sector}; got[p.Number] != want {
					t.Errorf("partition %d is at %v, want %v", p.Number, got[p.Number], want)
				}
			}
		})
	}
}

// sfdisk returns start and length of each partition, in sectors.
func sfdisk(t *testing.T, device string) map[int][2]int64 {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sfdisk", "--json", device).Output()
	if err != nil {
		t.Fatalf("sfdisk: %v", err)
	}
	var table struct {
		PartitionTable struct {
			Partitions []struct {
				Node        string
				Start, Size int64
			}
		}
	}
	if err := json.Unmarshal(out, &table); err != nil {
		t.Fatal(err)
	}
	found := map[int][2]int64{}
	for _, p := range table.PartitionTable.Partitions {
		n, err := strconv.Atoi(regexp.MustCompile(`[0-9]+$`).FindString(p.Node))
		if err != nil {
			t.Fatal(err)
		}
		found[n] = [2]int64{p.Start, p.Size}
	}
	return found
}
