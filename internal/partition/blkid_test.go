package partition

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// blkid says of a whole file what is in it.
func blkid(t *testing.T, path string) map[string]string {
	t.Helper()
	says := map[string]string{}
	for line := range strings.Lines(run(t, "", "blkid", "-p", "-o", "export", path)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		says[key] = strings.ReplaceAll(value, `\ `, " ")
	}
	return says
}

// What mkfs and the like make is what blkid says it is.
func TestContentAsBlkid(t *testing.T) {
	t.Parallel()
	const pv = "devices{use_devicesfile=0 dir=\"/dev\"} global{use_lvmlockd=0} activation{udev_sync=0 udev_rules=0}"
	for name, c := range map[string]struct {
		size  int64
		tool  []string // the file follows
		stdin string
		want  Content // what blkid does not say, or says otherwise
	}{
		"ext2":                {4 * mib, []string{"mkfs.ext2", "-q", "-L", "a label"}, "", Content{Type: "ext2", BlockSize: 1024}},
		"ext2 r0":             {4 * mib, []string{"mkfs.ext2", "-q", "-r", "0"}, "", Content{Type: "ext2", BlockSize: 1024}},
		"ext3":                {16 * mib, []string{"mkfs.ext3", "-q", "-b", "4096"}, "", Content{Type: "ext3", BlockSize: 4096}},
		"ext4":                {64 * mib, []string{"mkfs.ext4", "-q", "-b", "4096", "-L", "sixteen bytes ok"}, "", Content{Type: "ext4", BlockSize: 4096}},
		"ext4 old":            {16 * mib, []string{"mkfs.ext4", "-q", "-O", "^metadata_csum,^64bit,uninit_bg"}, "", Content{Type: "ext4", BlockSize: 1024}},
		"ext4 bigger":         {256 * mib, []string{"mkfs.ext4", "-q", "-O", "bigalloc,meta_bg,^resize_inode,inline_data,quota,project,ea_inode,encrypt,verity,mmp", "-b", "4096", "-C", "65536"}, "", Content{Type: "ext4", BlockSize: 4096}},
		"ext4 bare":           {16 * mib, []string{"mkfs.ext4", "-q", "-O", "^has_journal,sparse_super2,casefold,large_dir,stable_inodes", "-b", "1024"}, "", Content{Type: "ext4", BlockSize: 1024}},
		"ext4 64 KiB":         {64 * mib, []string{"mkfs.ext4", "-q", "-F", "-b", "65536"}, "", Content{Type: "ext4", BlockSize: 65536}},
		"ext4 bigalloc 1 KiB": {64 * mib, []string{"mkfs.ext4", "-q", "-b", "1024", "-O", "bigalloc"}, "", Content{Type: "ext4", BlockSize: 1024}},
		"ext4 journal":        {16 * mib, []string{"mkfs.ext4", "-q", "-O", "journal_dev"}, "", Content{Type: "jbd", BlockSize: 1024}},
		"xfs":                 {300 * mib, []string{"mkfs.xfs", "-q", "-L", "twelve bytes"}, "", Content{Type: "xfs", BlockSize: 4096}},
		"xfs more":            {300 * mib, []string{"mkfs.xfs", "-q", "-b", "size=1024", "-m", "rmapbt=1,reflink=1,bigtime=1,inobtcount=1", "-i", "nrext64=1"}, "", Content{Type: "xfs", BlockSize: 1024}},
		"xfs 4Kn":             {300 * mib, []string{"mkfs.xfs", "-q", "-s", "size=4096"}, "", Content{Type: "xfs", BlockSize: 4096}},
		"xfs v4":              {300 * mib, []string{"mkfs.xfs", "-q", "-m", "crc=0", "-n", "ftype=1"}, "", Content{Type: "xfs", BlockSize: 4096}},
		"btrfs":               {128 * mib, []string{"mkfs.btrfs", "-q", "-L", "b"}, "", Content{Type: "btrfs", BlockSize: 4096, Devices: 1}},
		"btrfs sha256":        {128 * mib, []string{"mkfs.btrfs", "-q", "--csum", "sha256"}, "", Content{Type: "btrfs", BlockSize: 4096, Devices: 1}},
		"btrfs xxhash":        {128 * mib, []string{"mkfs.btrfs", "-q", "--csum", "xxhash", "-M"}, "", Content{Type: "btrfs", BlockSize: 4096, Devices: 1}},
		"fat12":               {2 * mib, []string{"mkfs.vfat", "-F", "12", "-n", "SOME NAME"}, "", Content{Type: "vfat", BlockSize: 2048}},
		"fat16":               {16 * mib, []string{"mkfs.vfat", "-F", "16"}, "", Content{Type: "vfat", BlockSize: 2048}},
		"fat32":               {64 * mib, []string{"mkfs.vfat", "-F", "32", "-n", "UEFI"}, "", Content{Type: "vfat", BlockSize: 512}},
		"fat32 4Kn":           {300 * mib, []string{"mkfs.vfat", "-F", "32", "-S", "4096"}, "", Content{Type: "vfat", BlockSize: 4096}},
		"fat with MBR":        {64 * mib, []string{"mkfs.vfat", "-F", "32", "--mbr=yes"}, "", Content{Type: "vfat", BlockSize: 512}},
		"swap":                {mib, []string{"mkswap", "-q", "-L", "s"}, "", Content{Type: "swap", BlockSize: 4096}},
		"swap 64 KiB":         {mib, []string{"mkswap", "-q", "-p", "65536"}, "", Content{Type: "swap", BlockSize: 65536}},
		"luks1":               {4 * mib, []string{"cryptsetup", "-q", "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000"}, "secret", Content{Type: "crypto_LUKS"}},
		"luks2": {20 * mib, []string{
			"cryptsetup", "-q", "luksFormat", "--type", "luks2", "--label", "l",
			"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
		}, "secret", Content{Type: "crypto_LUKS"}},
		"lvm": {8 * mib, []string{"lvm", "pvcreate", "-q", "-y", "--config", pv}, "", Content{Type: "LVM2_member"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := imageFile(t, c.size)
			device := path
			if c.tool[0] == "lvm" {
				device = loop(t, path)
			}
			run(t, c.stdin, c.tool[0], append(c.tool[1:], device)...)
			table := readFile(t, path)
			if table.Type != NoTable || len(table.Partitions) != 1 || len(table.Notes) > 0 {
				t.Fatalf("got %+v", table)
			}
			got := table.Partitions[0].Content
			says := blkid(t, path)
			c.want.UUID, c.want.Label = says["UUID"], says["LABEL"]
			if c.tool[0] == "lvm" && c.want.UUID == "" {
				t.Error("blkid says no UUID")
			}
			if says["TYPE"] != c.want.Type {
				t.Errorf("blkid says it is %q", says["TYPE"])
			}
			checkFacts(t, path, got)
			got.Features, got.Used, got.Files = nil, 0, 0
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// checkFacts compares with the filesystems' own programs.
func checkFacts(t *testing.T, path string, got Content) {
	t.Helper()
	if !slices.IsSorted(got.Features) {
		t.Errorf("features are not sorted: %v", got.Features)
	}
	switch {
	case strings.HasPrefix(got.Type, "ext"):
		says := fields(run(t, "", "dumpe2fs", "-h", path))
		features := strings.Fields(says["Filesystem features"])
		slices.Sort(features)
		if got.Features != nil && features[0] != "(none)" && !cmp.Equal(features, got.Features) {
			t.Error(cmp.Diff(features, got.Features))
		}
		number := func(key string) int64 { n, _ := strconv.ParseInt(says[key], 10, 64); return n }
		if used := (number("Block count") - number("Free blocks")) * number("Block size"); got.Used != used || used <= 0 {
			t.Errorf("%d bytes in use, dumpe2fs says %d", got.Used, used)
		}
		if files := number("Inode count") - number("Free inodes"); got.Files != files || files <= 0 {
			t.Errorf("%d inodes in use, dumpe2fs says %d", got.Files, files)
		}
	case got.Type == "xfs":
		version := run(t, "", "xfs_db", "-r", "-c", "version", "-c", "sb 0", "-c", "p fdblocks dblocks icount ifree", path)
		for word, feature := range map[string]string{
			"V5": "v5", "V4": "v4", "FTYPE": "ftype", "FINOBT": "finobt", "SPARSE_INODES": "sparse", "RMAPBT": "rmapbt",
			"REFLINK": "reflink", "INOBTCNT": "inobtcount", "BIGTIME": "bigtime", "NREXT64": "nrext64",
		} {
			if slices.Contains(got.Features, feature) != strings.Contains(version, word) {
				t.Errorf("feature %s: got %v, xfs_db says %s", feature, got.Features, version)
			}
		}
		says := fields(strings.ReplaceAll(version, " = ", ": "))
		number := func(key string) int64 { n, _ := strconv.ParseInt(says[key], 10, 64); return n }
		if used := (number("dblocks") - number("fdblocks")) * got.BlockSize; got.Used != used || used <= 0 {
			t.Errorf("%d bytes in use, xfs_db says %d", got.Used, used)
		}
		if files := number("icount") - number("ifree"); got.Files != files || files <= 0 {
			t.Errorf("%d inodes in use, xfs_db says %d", got.Files, files)
		}
	case got.Type == "btrfs":
		says := run(t, "", "btrfs", "inspect-internal", "dump-super", path)
		for _, f := range got.Features {
			name := map[string]string{"compress_lzo": "COMPRESS_LZO", "mixed_groups": "MIXED_GROUPS"}[f]
			if name == "" {
				name = strings.ToUpper(f)
			}
			if !strings.Contains(says, name) {
				t.Errorf("dump-super does not say %s: %s", name, says)
			}
		}
		if got.Used <= 0 || !strings.Contains(says, "bytes_used\t\t"+strconv.FormatInt(got.Used, 10)) {
			t.Errorf("%d bytes in use, dump-super says %s", got.Used, says)
		}
	}
}

// fields are the lines "key: value" of a program.
func fields(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			all[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return all
}

// loop makes a loop device over a file.
func loop(t *testing.T, path string, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this machine has no loop devices")
	}
	dev := strings.TrimSpace(run(t, "", "losetup", append(args, "--find", "--show", path)...))
	t.Cleanup(func() { // the test's context is over
		if out, err := exec.Command("losetup", "--detach", dev).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v: %s", dev, err, out)
		}
	})
	return dev
}
