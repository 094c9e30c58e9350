package awssim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ebsPage is the part of a list that a call asks for.
type ebsPage struct {
	conf  EBSConfig
	query string // what the token is bound to
	now   time.Time
	from  int64 // index
	size  int
	empty int // empty pages before this one, since the last that had blocks
}

func (s *Server) ebsPage(c *call, known []string) (ebsPage, *apiError) {
	sum := sha256.Sum256([]byte(c.Action + " " + c.ebs.first + " " + c.ebs.snapshot))
	p := ebsPage{conf: s.cfg.EBS.withDefaults(), query: hex.EncodeToString(sum[:8]), now: c.now}
	p.size = p.conf.PageSize
	for name := range c.ebs.query {
		if !slices.Contains(known, name) {
			return p, ebsInvalid("INVALID_PARAMETER_VALUE", "The parameter %s is not known.", name)
		}
	}
	if c.ebs.query.Has("maxResults") {
		n, err := strconv.ParseInt(c.ebs.query.Get("maxResults"), 10, 32)
		if err != nil || n < 0 || n > ebsMaxPage {
			return p, ebsInvalid("INVALID_PARAMETER_VALUE", "MaxResults must be 100 to %d.", ebsMaxPage)
		}
		p.size = min(p.size, max(int(n), ebsMinPage))
	}
	if c.ebs.query.Has("pageToken") { // wins over the index
		return p, p.at(c.ebs.query.Get("pageToken"))
	}
	if c.ebs.query.Has("startingBlockIndex") {
		n, err := strconv.ParseInt(c.ebs.query.Get("startingBlockIndex"), 10, 32)
		if err != nil || n < 0 {
			return p, ebsInvalid("INVALID_PARAMETER_VALUE", "StartingBlockIndex must be 0 to %d.", math.MaxInt32)
		}
		p.from = n
	}
	return p, nil
}

// at reads a token that cut has made.
func (p *ebsPage) at(token string) *apiError {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	fields := strings.Split(string(raw), ":")
	if err != nil || len(fields) != 4 || fields[0] != p.query {
		return ebsInvalid("INVALID_PAGE_TOKEN", "The page token is none of this list.")
	}
	var numbers [3]int64
	for i, field := range fields[1:] {
		if numbers[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return ebsInvalid("INVALID_PAGE_TOKEN", "The page token is malformed.")
		}
	}
	p.from, p.empty = numbers[0], int(numbers[1])
	if made := time.UnixMilli(numbers[2]); p.now.Sub(made) >= p.conf.TokenLife {
		return ebsInvalid("INVALID_PAGE_TOKEN", "The page token has expired.")
	}
	return nil
}

// cut returns the blocks of the page, and the token of the next. Behind a full
// page comes another one, even if it is empty.
func (p *ebsPage) cut(all []ebsBlock) (blocks []ebsBlock, token string) {
	from, _ := slices.BinarySearchFunc(all, p.from, func(b ebsBlock, i int64) int { return cmp.Compare(b.BlockIndex, i) })
	next, empty := p.from, p.empty+1
	if p.empty >= p.conf.Empty {
		blocks = all[from:min(from+p.size, len(all))]
		if len(blocks) < p.size {
			return append([]ebsBlock{}, blocks...), ""
		}
		next, empty = blocks[len(blocks)-1].BlockIndex+1, 0
	}
	text := fmt.Sprintf("%s:%d:%d:%d", p.query, next, empty, p.now.UnixMilli())
	return append([]ebsBlock{}, blocks...), base64.RawURLEncoding.EncodeToString([]byte(text))
}

// tokens fills in the tokens of a page: other ones in each list.
func (c *call) tokens(page []ebsBlock) {
	for i := range page {
		for _, t := range []*string{&page[i].BlockToken, &page[i].FirstBlockToken, &page[i].SecondBlockToken} {
			if *t != "" {
				sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", c.requestID, *t, page[i].BlockIndex))
				*t = base64.StdEncoding.EncodeToString(sum[:])
			}
		}
	}
}

// snapshotBlocks has the snapshot's id for tokens, as changedBlocks.
func snapshotBlocks(snap *snapshot) []ebsBlock {
	var blocks []ebsBlock
	for index := range int64(len(snap.image.present)) * 64 {
		if snap.image.has(index) {
			blocks = append(blocks, ebsBlock{BlockIndex: index, BlockToken: snap.ID})
		}
	}
	return blocks
}

// changedBlocks are those of which the images differ. (AWS also lists a block
// that was written with what it held.)
func (s *Server) changedBlocks(c *call, second *snapshot) ([]ebsBlock, *apiError) {
	if c.ebs.first == "" {
		return nil, ebsInvalid("INVALID_PARAMETER_VALUE", "The first snapshot is not named.")
	}
	first, e := s.ebsSnapshot(c.ebs.first)
	if e != nil {
		return nil, e
	}
	if first.VolumeID != second.VolumeID || first.VolumeID == "vol-ffffffff" && first != second {
		return nil, ebsInvalid("UNRELATED_SNAPSHOTS", "The snapshots '%s' and '%s' are not related.", first.ID, second.ID)
	}
	before, err := first.image.blockSums()
	if err != nil {
		return nil, ebsInternalError(err)
	}
	after, err := second.image.blockSums()
	if err != nil {
		return nil, ebsInternalError(err)
	}
	indexes := slices.Collect(maps.Keys(after))
	if s.cfg.EBS.ListGone {
		for index := range before {
			if _, there := after[index]; !there {
				indexes = append(indexes, index)
			}
		}
	}
	slices.Sort(indexes)
	var blocks []ebsBlock
	for _, index := range indexes {
		x, was := before[index]
		y, is := after[index]
		if was && is && x == y {
			continue
		}
		b := ebsBlock{BlockIndex: index}
		if was {
			b.FirstBlockToken = first.ID
		}
		if is {
			b.SecondBlockToken = second.ID
		}
		blocks = append(blocks, b)
	}
	return blocks, nil
}

// blockSum stands for the content of a block.
type blockSum [16]byte

// blockSums reads the image once for all lists.
func (im *diskImage) blockSums() (map[int64]blockSum, error) {
	im.summing.Lock()
	defer im.summing.Unlock()
	if im.sums != nil {
		return im.sums, nil
	}
	sums := map[int64]blockSum{}
	var h hash.Hash
	current := int64(-1)
	finish := func() {
		if current >= 0 {
			sums[current] = blockSum(h.Sum(nil)[:16])
		}
	}
	err := im.chunks(func(p []byte, off int64) error { // in ascending order
		if block := off / imageBlock; block != current {
			finish()
			h, current = sha256.New(), block
		}
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(off)))
		h.Write(p)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the disk image: %w", err)
	}
	finish()
	im.sums = sums
	return sums, nil
}
