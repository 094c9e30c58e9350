package awssim

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"
)

// Tags returns the tags of a snapshot, volume or instance as they are, without
// the lag of readers; nil if there is no such thing.
func (s *Server) Tags(id string) map[string]string {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	if r, ok := s.ec2.byID[id]; ok {
		return maps.Clone(r.ownTags().now)
	}
	return nil
}

// SetTags replaces all tags of a snapshot, volume or instance, as another
// writer would. Readers see it after EC2Config.Tags.
func (s *Server) SetTags(id string, tags map[string]string) error {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	r, ok := s.ec2.byID[id]
	if !ok {
		return fmt.Errorf("set tags of %s: there is no such thing", id)
	}
	if n := userTags(tags); n > maxTags {
		return fmt.Errorf("set tags of %s: %d are over the limit of %d", id, n, maxTags)
	}
	r.ownTags().set(maps.Clone(tags), s.ec2.conf.Tags)
	return nil
}

// VolumeInfo is what a test may know of a volume.
type VolumeInfo struct {
	ID         string
	SnapshotID string
	State      string // creating, available, in-use, deleting or error
	Type       string
	Zone       string
	SizeGiB    int64
	IOPS       int64
	Throughput int64
	Encrypted  bool
	KMSKeyID   string
	Created    time.Time
	Token      string // the client token that made it
	Tags       map[string]string
	Instance   string // attached to it, or ""
	Device     string // as asked for: /dev/sdf
	Attachment string // attaching, attached or detaching, or ""
	Node       string // path of its device, or "" if there is none
	Loop       string // path of the loop device behind that, or ""
	Image      string // path of its disk image
}

// Volumes lists the volumes there are, as they are, in the order of their
// making, the root volume aside. It is no look that a state waits for.
func (s *Server) Volumes() []VolumeInfo {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	s.settleVolumes()
	var out []VolumeInfo
	for _, v := range s.ec2.volumes {
		if v.root {
			continue
		}
		info := VolumeInfo{
			ID: v.id, SnapshotID: v.snapshotID, State: v.state, Type: v.kind.name, Zone: v.zone, SizeGiB: v.sizeGiB,
			IOPS: v.kind.iops, Throughput: v.kind.throughput, Encrypted: v.encrypted, KMSKeyID: v.kmsKeyID,
			Created: v.created, Token: v.token, Tags: maps.Clone(v.tags.now), Image: v.image,
		}
		if a := v.attached; a != nil {
			info.Instance, info.Device, info.Attachment = a.instance, a.device, a.state
			if a.node != nil {
				info.Node = filepath.Join(a.node.roots.dev, a.node.name)
				if a.node.loop != nil {
					info.Loop = a.node.loop.path
				}
			}
		}
		out = append(out, info)
	}
	return out
}

// Invariants returns an error if something that must always hold did not hold
// after one of the calls so far: no two attachments in one place, no object
// written over by a call that did not name the one it replaces.
func (s *Server) Invariants() error {
	s.s3.mu.Lock()
	broken := slices.Clone(s.s3.replaced)
	s.s3.mu.Unlock()
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	s.noteInvariants()
	var errs []error
	for _, b := range append(broken, s.ec2.broken...) {
		errs = append(errs, errors.New(b))
	}
	return errors.Join(errs...)
}

// noteInvariants looks for volumes that are at odds with each other or with
// themselves.
func (s *Server) noteInvariants() {
	devices, nodes := map[string]string{}, map[string]string{}
	for _, v := range s.ec2.volumes {
		if (v.state == volInUse) != (v.attached != nil) {
			s.note("volume %s is %s, and attached: %t", v.id, v.state, v.attached != nil)
		}
		if v.attached == nil {
			continue
		}
		place := fmt.Sprintf("%s %v", v.attached.instance, v.attached.name)
		if other, taken := devices[place]; taken {
			s.note("volumes %s and %s are both attached at %s of %s", other, v.id, v.attached.device, v.attached.instance)
		}
		devices[place] = v.id
		if v.attached.node == nil {
			continue
		}
		node := filepath.Join(v.attached.node.roots.dev, v.attached.node.name)
		if other, taken := nodes[node]; taken {
			s.note("volumes %s and %s are both device %s", other, v.id, node)
		}
		nodes[node] = v.id
	}
}

func (s *Server) note(format string, args ...any) {
	if line := fmt.Sprintf(format, args...); !slices.Contains(s.ec2.broken, line) {
		s.ec2.broken = append(s.ec2.broken, line)
	}
}

// leftEC2 names what is left behind, a line each: volumes, devices that are
// still held, tags that say that work goes on, and broken invariants.
func (s *Server) leftEC2() []string {
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	s.settleVolumes()
	s.noteInvariants()
	var left []string
	for _, v := range s.ec2.volumes {
		if v.preset && (v.attached == nil || v.attached.state != attDetaching) || v.state == volDeleting {
			continue
		}
		line := fmt.Sprintf("volume %s of %s (%s)", v.id, v.snapshotID, v.state)
		if a := v.attached; a != nil {
			line += fmt.Sprintf(", %s at %s as %s", a.state, a.instance, a.device)
			if a.state == attDetaching && a.node != nil {
				line += ", held by " + s.holder(v)
			}
		}
		left = append(left, line)
	}
	for _, snap := range s.ec2.snapshots {
		left = append(left, unfinished(snap)...)
	}
	for _, b := range s.ec2.broken {
		left = append(left, "broken invariant: "+b)
	}
	return left
}

// unfinished names the tags of a snapshot that say that somebody works on it,
// unless they were there from the start.
func unfinished(snap *snapshot) []string {
	var out []string
	for k, v := range snap.tags.now {
		if first, ok := snap.tags.first[k]; ok && first == v {
			continue
		}
		state, _, _ := strings.Cut(v, " ")
		_, id := snap.tags.now[strings.TrimSuffix(k, "-id")]
		_, owner := snap.tags.now[strings.TrimSuffix(k, "-owner")]
		if state == "migrating" || state == "validating" || strings.HasSuffix(k, "-id") && id || strings.HasSuffix(k, "-owner") && owner {
			out = append(out, fmt.Sprintf("tag %s=%s of snapshot %s", k, v, snap.ID))
		}
	}
	sort.Strings(out)
	return out
}
