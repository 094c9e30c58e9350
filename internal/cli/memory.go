package cli

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	"snap-to-s3/internal/cost"
	"snap-to-s3/internal/objstore"
	"snap-to-s3/internal/ui"
	"snap-to-s3/internal/words"
	"snap-to-s3/internal/workflow"
)

// memInfo is where Linux tells how much memory is free.
const memInfo = "/proc/meminfo"

// partMemory is what the parts of archives take while they wait: in memory by far the
// most that grows with what is asked for, or room in a folder.
type partMemory struct {
	Part  int64  // bytes of the largest part
	Total int64  // bytes in memory of all parts that are held at one time, at most
	Spool int64  // likewise in the folder
	text  string // how it comes to that
}

func (m partMemory) String() string {
	if m.Spool > 0 {
		return fmt.Sprintf("room for parts in the --spool folder: at most %s (%s)", ui.Bytes(m.Spool), m.text)
	}
	return fmt.Sprintf("memory for parts: at most %s (%s)", ui.Bytes(m.Total), m.text)
}

// memoryOf computes it. Each job fills one part while its streams send theirs;
// parts are of one size, which follows from the largest archive.
func memoryOf(o MigrateOptions, e cost.Estimate) (partMemory, error) {
	plan, err := objstore.NewPlan(e.LargestArchive, o.PartSize, objstore.S3Limits())
	if err != nil {
		return partMemory{}, err
	}
	jobs := min(int64(o.Jobs), max(e.Snapshots, 1))
	if o.One {
		jobs = 1
	}
	m := partMemory{Part: plan.First()}
	held := int64(o.UploadStreams+1) * m.Part
	m.text = fmt.Sprintf("%s × (%d + 1) parts of %s", words.Count(jobs, "job"), o.UploadStreams, ui.Bytes(m.Part))
	if whole := max(e.LargestArchive, 1); whole < held {
		held = whole
		m.text = fmt.Sprintf("%s × an archive of at most %s", words.Count(jobs, "job"), ui.Bytes(whole))
	}
	if o.Spool != "" && m.Part > objstore.SpoolOver {
		m.Spool = jobs * held
	} else {
		m.Total = jobs * held
	}
	return m, nil
}

// memoryReport warns, before anything is touched, of a run that asks for more
// memory than a machine that does other things, too, should give.
type memoryReport struct {
	report
	options MigrateOptions
	log     *slog.Logger
	meminfo string // path
}

// Cost implements workflow.Reporter.
func (r memoryReport) Cost(t workflow.Totals) {
	r.report.Cost(t)
	r.warn(t.Cost)
}

// Summary ends the report.
func (r memoryReport) Summary(s workflow.Summary, err error) {
	if r.options.DryRun && s.Planned > 0 {
		r.warn(s.Cost)
	}
	r.report.Summary(s, err)
}

func (r memoryReport) warn(e cost.Estimate) {
	need, err := memoryOf(r.options, e)
	if err != nil {
		return // a plan that cannot be made is told of where it is to be used
	}
	if need.Spool > 0 {
		r.warnOfSpool(need)
		return
	}
	free, err := memAvailable(r.meminfo)
	if err != nil {
		r.log.Debug("it is not known how much memory is free", "err", err)
		return
	}
	if need.Total > free/2 {
		r.log.Warn("parts can take more than half of the free memory: fewer --jobs or --upload-streams take less, --spool FOLDER keeps parts over 64 MiB on a disk",
			"parts", need.text, "part_memory_bytes", need.Total, "free_bytes", free)
	}
}

func (r memoryReport) warnOfSpool(need partMemory) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(r.options.Spool, &disk); err != nil {
		r.log.Debug("it is not known how much room the folder for parts has", "err", err)
		return
	}
	if free := int64(disk.Bavail) * disk.Bsize; need.Spool > free { //nolint:gosec // no disk has so many blocks
		r.log.Warn("the --spool folder may have too little room for parts: fewer --jobs or --upload-streams or a smaller --part-size take less, or name a folder on a larger disk",
			"parts", need.text, "part_spool_bytes", need.Spool, "free_bytes", free)
	}
}

// memAvailable is what Linux thinks that programs can take without swapping
// (proc_meminfo(5), MemAvailable), in bytes.
func memAvailable(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("look for free memory: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "MemAvailable:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 53)
		if err != nil {
			return 0, fmt.Errorf("look for free memory in %s: %w", path, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("look for free memory in %s: no MemAvailable there", path)
}
