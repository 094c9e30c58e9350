package awssim

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// createdVolume remembers what a client token asked for (EC2 keeps tokens, and
// answers the same again).
type createdVolume struct {
	request string
	volume  *volume
}

func (s *Server) createVolume(c *call) (any, *apiError) {
	token := c.form.Get("ClientToken")
	if len(token) > 64 || strings.ContainsFunc(token, func(r rune) bool { return r > 126 }) {
		return nil, ec2Error("InvalidParameterValue", "The client token is longer than 64 characters or not ASCII.")
	}
	asked := maps.Clone(c.form)
	for _, k := range []string{"ClientToken", "Action", "Version", "DryRun"} {
		asked.Del(k)
	}
	request := asked.Encode()
	if before, ok := s.ec2.created[token]; ok && token != "" {
		if before.request != request {
			return nil, ec2Error("IdempotentParameterMismatch", "The client token you have provided is associated with a resource that is already created with different parameters.")
		}
		return s.volumeXML(before.volume), nil
	}
	v, snap, e := s.volumeFromForm(c)
	if e != nil {
		return nil, e
	}
	if limit := s.ec2.conf.MaxVolumes; limit > 0 && s.countVolumes() >= limit {
		return nil, ec2Error("VolumeLimitExceeded", "You have exceeded the limit of %d volumes.", limit)
	}
	v.created, v.token = c.now, token
	fill := s.newVolume(v, snap)
	v.fate = s.ec2.fault(v).Fate
	if fate, denied := s.deniedKey(v.kmsKeyID); denied {
		v.fate = fate
	}
	s.ec2.work.Go(fill)
	if token != "" {
		s.ec2.created[token] = createdVolume{request, v}
	}
	return s.volumeXML(v), nil
}

func (s *Server) countVolumes() int {
	n := 0
	for _, v := range s.ec2.volumes {
		if !v.root {
			n++
		}
	}
	return n
}

// deniedKey looks a key's ARN up among the denied keys, which may be given as
// id, alias or ARN.
func (s *Server) deniedKey(arn string) (VolumeFate, bool) {
	if arn == "" {
		return "", false
	}
	for key, fate := range s.ec2.conf.DeniedKeys {
		if s.keyARN(key) == arn {
			return fate, true
		}
	}
	return "", false
}

// volumeFromForm checks what is asked for.
func (s *Server) volumeFromForm(c *call) (*volume, *snapshot, *apiError) {
	v := &volume{snapshotID: c.form.Get("SnapshotId")}
	var e *apiError
	if v.zone, v.zoneID, e = s.formZone(c.form); e != nil {
		return nil, nil, e
	}
	var snap *snapshot
	if v.snapshotID != "" {
		if snap, e = s.usableSnapshot(v.snapshotID); e != nil {
			return nil, nil, e
		}
	}
	if v.sizeGiB, e = formInt(c.form, "Size"); e != nil {
		return nil, nil, e
	}
	if c.form.Has("Size") && v.sizeGiB < 1 {
		return nil, nil, ec2Error("InvalidParameterValue", "Volume of %dGiB is too small; minimum is 1GiB.", v.sizeGiB)
	}
	if e := v.size(snap); e != nil {
		return nil, nil, e
	}
	if v.kind, e = formVolumeParams(c.form, v.sizeGiB); e != nil {
		return nil, nil, e
	}
	if v.kind.initRate != 0 && snap == nil {
		return nil, nil, ec2Error("InvalidParameterCombination", "The parameter volumeInitializationRate is supported only for volumes created from snapshots.")
	}
	if e := s.formEncryption(c.form, v, snap); e != nil {
		return nil, nil, e
	}
	tags, e := formTagSpecs(c.form, "volume")
	if e != nil {
		return nil, nil, e
	}
	if len(tags) > 0 { // EC2 asks for this right, too (IAM: "Grant permission to tag resources during creation")
		if e := s.authorize(c, "ec2:CreateTags", "arn:aws:ec2:"+s.cfg.Region+":"+s.cfg.Account+":volume/*"); e != nil {
			return nil, nil, e
		}
	}
	withThem, e := withTags(nil, tags)
	if e != nil {
		return nil, nil, e
	}
	v.tags = newTagHistory(withThem)
	return v, snap, nil
}

// usableSnapshot finds a snapshot that a volume can be made from.
func (s *Server) usableSnapshot(id string) (*snapshot, *apiError) {
	found, e := s.findSnapshots([]string{id})
	if e != nil {
		return nil, e
	}
	snap := found[0]
	switch {
	case snap.State != "completed":
		return nil, ec2Error("IncorrectState", "Snapshot is in invalid state - %s", snap.State)
	case snap.Archived:
		return nil, ec2Error("IncorrectState", "Snapshot %s is in the archive storage tier and must be restored before it can be used.", id)
	}
	return snap, nil
}

// formEncryption: a volume of an encrypted snapshot is encrypted, with its key
// unless another is named.
func (s *Server) formEncryption(form url.Values, v *volume, snap *snapshot) *apiError {
	asked, e := formBool(form, "Encrypted")
	if e != nil {
		return e
	}
	key := form.Get("KmsKeyId")
	v.encrypted = asked || snap != nil && snap.Encrypted
	switch {
	case key != "" && !v.encrypted:
		return ec2Error("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	case snap != nil && snap.Encrypted && form.Has("Encrypted") && !asked:
		return ec2Error("InvalidParameterCombination", "An unencrypted volume cannot be created from the encrypted snapshot %s.", snap.ID)
	case key != "":
		v.kmsKeyID = s.keyARN(key)
	case snap != nil && snap.Encrypted:
		v.kmsKeyID = snap.KMSKeyID
	case v.encrypted:
		v.kmsKeyID = s.keyARN("alias/aws/ebs")
	}
	return nil
}

// formZone reads the zone, by name or by id.
func (s *Server) formZone(form url.Values) (zone, id string, e *apiError) {
	zone, id = form.Get("AvailabilityZone"), form.Get("AvailabilityZoneId")
	switch {
	case zone == "" && id == "":
		return "", "", ec2Error("MissingParameter", "The request must contain the parameter AvailabilityZone or AvailabilityZoneId")
	case zone != "" && id != "":
		return "", "", ec2Error("InvalidParameterCombination", "The parameter AvailabilityZone cannot be used with the parameter AvailabilityZoneId")
	}
	for _, z := range s.zones() {
		if z == zone || zoneID(z) == id {
			return z, zoneID(z), nil
		}
	}
	return "", "", ec2Error("InvalidZone.NotFound", "The zone '%s' does not exist.", zone+id)
}

// zones are the region's: three, and the server's own.
func (s *Server) zones() []string {
	zones := []string{s.cfg.Region + "a", s.cfg.Region + "b", s.cfg.Region + "c"}
	if !slices.Contains(zones, s.cfg.Zone) {
		zones = append(zones, s.cfg.Zone)
	}
	return zones
}

// zoneID is the zone's id: use1-az1 for us-east-1a. (Which letter is which
// number differs by account.)
func zoneID(zone string) string {
	if len(zone) < 2 {
		return ""
	}
	region, letter := zone[:len(zone)-1], zone[len(zone)-1]
	short := ""
	for i, part := range strings.Split(region, "-") {
		second, two := strings.CutPrefix(part, "north")
		if !two {
			second, two = strings.CutPrefix(part, "south")
		}
		switch {
		case part == "":
		case i == 0:
			short += part
		case two && second != "": // northeast: ne
			short += part[:1] + second[:1]
		default:
			short += part[:1]
		}
	}
	return short + "-az" + strconv.Itoa(int(letter-'a')+1)
}
