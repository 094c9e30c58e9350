package awssim

import (
	"fmt"
	"time"
)

// SnapshotLock is a lock on a snapshot.
type SnapshotLock struct {
	Mode     string // governance (default) or compliance
	Created  time.Time
	Duration time.Duration // whole days; default: a year
	CoolOff  time.Duration // of compliance: whole hours in which it can be undone
}

// LockSnapshot locks one of this account's snapshots.
func (s *Server) LockSnapshot(id string, l SnapshotLock) error {
	if l.Mode == "" {
		l.Mode = lockGovernance
	}
	if l.Created.IsZero() {
		l.Created = s.clock.time()
	}
	if l.Duration == 0 {
		l.Duration = 365 * 24 * time.Hour
	}
	days, hours := l.Duration/(24*time.Hour), l.CoolOff/time.Hour
	switch { // EC2 API reference, LockSnapshot
	case l.Mode != lockGovernance && l.Mode != lockCompliance:
		return fmt.Errorf("lock %s: there is no mode %q", id, l.Mode)
	case days < 1 || days > 36500 || days*24*time.Hour != l.Duration:
		return fmt.Errorf("lock %s: %s is not 1 to 36500 days", id, l.Duration)
	case hours*time.Hour != l.CoolOff || hours < 0 || hours > 72 || hours > 0 && l.Mode != lockCompliance:
		return fmt.Errorf("lock %s: %s to cool off in mode %s is not possible", id, l.CoolOff, l.Mode)
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	snap, ok := s.ec2.byID[id].(*snapshot)
	if !ok || snap.owner != s.cfg.Account {
		return fmt.Errorf("lock %s: this account has no such snapshot", id)
	}
	snap.lock = &l
	return nil
}

const (
	lockGovernance = "governance"
	lockCompliance = "compliance"
)

type xmlLock struct {
	OwnerID    string  `xml:"ownerId"`
	SnapshotID string  `xml:"snapshotId"`
	State      string  `xml:"lockState"`
	Days       int64   `xml:"lockDuration"`
	CoolOff    int64   `xml:"coolOffPeriod,omitempty"`
	CoolOffEnd xmlTime `xml:"coolOffPeriodExpiresOn"`
	Created    xmlTime `xml:"lockCreatedOn"`
	Start      xmlTime `xml:"lockDurationStartTime"`
	Expires    xmlTime `xml:"lockExpiresOn"`
}

// describeLockedSnapshots leaves out what was never locked.
func (s *Server) describeLockedSnapshots(c *call) (any, *apiError) {
	page, e := s.formPage(c, "SnapshotId")
	if e != nil {
		return nil, e
	}
	filters, e := formFilters(c.form, []string{"lock-state"})
	if e != nil {
		return nil, e
	}
	candidates := s.ec2.snapshots
	if ids := formList(c.form, "SnapshotId"); len(ids) > 0 {
		if candidates, e = s.findSnapshots(ids); e != nil {
			return nil, e
		}
	}
	var locked []*snapshot
	for _, snap := range candidates {
		if snap.lock != nil {
			locked = append(locked, snap)
		}
	}
	items, token := cut(page, locked, func(snap *snapshot) string { return fmt.Sprintf("%016x", snap.seq) })
	var answer struct {
		Snapshots xmlSet[xmlLock] `xml:"snapshotSet"`
		NextToken string          `xml:"nextToken,omitempty"`
	}
	answer.NextToken = token
	for _, snap := range items {
		x := snap.lock.xml(snap, s.clock.time())
		if matchAll(filters, func(string) []string { return []string{x.State} }) {
			answer.Snapshots.Items = append(answer.Snapshots.Items, x)
		}
	}
	return answer, nil
}

func (l *SnapshotLock) xml(snap *snapshot, now time.Time) xmlLock {
	x := xmlLock{
		OwnerID: snap.owner, SnapshotID: snap.ID, State: l.Mode, Days: int64(l.Duration / (24 * time.Hour)),
		Created: xmlTime{l.Created}, Start: xmlTime{l.Created}, Expires: xmlTime{l.Created.Add(l.Duration)},
	}
	if l.CoolOff > 0 {
		x.CoolOff, x.CoolOffEnd = int64(l.CoolOff/time.Hour), xmlTime{l.Created.Add(l.CoolOff)}
	}
	switch {
	case !now.Before(x.Expires.Time):
		x.State = "expired"
	case l.CoolOff > 0 && now.Before(x.CoolOffEnd.Time):
		x.State = "compliance-cooloff"
	}
	return x
}
