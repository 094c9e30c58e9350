package awssim

import "net/url"

// volumeParams is a volume's type and what was provisioned with it.
type volumeParams struct {
	name       string
	iops       int64
	throughput int64 // MiB/s
	initRate   int64 // MiB/s
}

// volumeType holds the limits of a type (EC2 API reference, CreateVolume; the
// ratios: EBS User Guide, volume types).
type volumeType struct {
	minGiB, maxGiB   int64
	minIOPS, maxIOPS int64 // 0: Iops is not supported
	iopsPerGiB       int64
	iopsRequired     bool
	throughput       bool // can be given
}

func volumeTypeNamed(name string) (volumeType, bool) {
	switch name {
	case "standard":
		return volumeType{minGiB: 1, maxGiB: 1024}, true
	case "gp2":
		return volumeType{minGiB: 1, maxGiB: 16384}, true
	case "gp3":
		return volumeType{minGiB: 1, maxGiB: 65536, minIOPS: 3000, maxIOPS: 80000, iopsPerGiB: 500, throughput: true}, true
	case "io1":
		return volumeType{minGiB: 4, maxGiB: 16384, minIOPS: 100, maxIOPS: 64000, iopsPerGiB: 50, iopsRequired: true}, true
	case "io2":
		return volumeType{minGiB: 4, maxGiB: 65536, minIOPS: 100, maxIOPS: 256000, iopsPerGiB: 1000, iopsRequired: true}, true
	case "st1", "sc1":
		return volumeType{minGiB: 125, maxGiB: 16384}, true
	}
	return volumeType{}, false
}

const (
	gp3IOPS       = 3000 // a gp3 volume has at least these, at any size
	gp3Throughput = 125
)

// formVolumeParams checks type, IOPS, throughput and initialization rate.
func formVolumeParams(form url.Values, sizeGiB int64) (volumeParams, *apiError) {
	p := volumeParams{name: form.Get("VolumeType")}
	if p.name == "" {
		p.name = "gp2" // the API's default
	}
	t, ok := volumeTypeNamed(p.name)
	if !ok {
		return p, ec2Error("UnknownVolumeType", "Unsupported volume type '%s' for volume creation.", p.name)
	}
	for name, into := range map[string]*int64{"Iops": &p.iops, "Throughput": &p.throughput, "VolumeInitializationRate": &p.initRate} {
		n, e := formInt(form, name)
		if e != nil {
			return p, e
		}
		*into = n
	}
	multi, e := formBool(form, "MultiAttachEnabled")
	switch {
	case e != nil:
		return p, e
	case multi && !t.iopsRequired:
		return p, ec2Error("InvalidParameterCombination", "The parameter multiAttachEnabled is not supported for %s volumes.", p.name)
	case multi:
		return p, ec2Error("UnsupportedOperation", "Multi-attach volumes are not simulated.")
	case sizeGiB > t.maxGiB:
		return p, ec2Error("InvalidParameterValue", "Volume of %dGiB is too large for volume type %s; maximum is %dGiB.", sizeGiB, p.name, t.maxGiB)
	case sizeGiB < t.minGiB:
		return p, ec2Error("InvalidParameterValue", "Volume of %dGiB is too small for volume type %s; minimum is %dGiB.", sizeGiB, p.name, t.minGiB)
	case form.Has("VolumeInitializationRate") && (p.initRate < 100 || p.initRate > 300):
		return p, ec2Error("InvalidParameterValue", "Volume initialization rate of %d MiB/s is not between 100 and 300.", p.initRate)
	}
	if e := t.checkIOPS(form, &p, sizeGiB); e != nil {
		return p, e
	}
	return p, t.checkThroughput(form, &p)
}

func (t volumeType) checkIOPS(form url.Values, p *volumeParams, sizeGiB int64) *apiError {
	given := form.Has("Iops")
	switch {
	case !given && t.iopsRequired:
		return ec2Error("MissingParameter", "The parameter iops must be specified for %s volumes.", p.name)
	case !given && p.name == "gp3":
		p.iops = gp3IOPS
	case !given && p.name == "gp2":
		p.iops = min(max(100, 3*sizeGiB), 16000)
	case !given:
	case t.maxIOPS == 0:
		return ec2Error("InvalidParameterCombination", "The parameter iops is not supported for %s volumes.", p.name)
	case p.iops < t.minIOPS:
		return ec2Error("InvalidParameterValue", "Volume iops of %d is too low; minimum is %d.", p.iops, t.minIOPS)
	case p.iops > t.maxIOPS:
		return ec2Error("InvalidParameterValue", "Volume iops of %d is too high; maximum is %d.", p.iops, t.maxIOPS)
	case p.iops > sizeGiB*t.iopsPerGiB && !(p.name == "gp3" && p.iops == gp3IOPS):
		return ec2Error("InvalidParameterValue", "Iops to volume size ratio of %f is too high; maximum is %d", float64(p.iops)/float64(sizeGiB), t.iopsPerGiB)
	}
	return nil
}

func (t volumeType) checkThroughput(form url.Values, p *volumeParams) *apiError {
	given := form.Has("Throughput")
	switch {
	case !given && t.throughput:
		p.throughput = gp3Throughput
	case !given:
	case !t.throughput:
		return ec2Error("InvalidParameterCombination", "The parameter throughput is not supported for %s volumes.", p.name)
	case p.throughput < gp3Throughput || p.throughput > 2000:
		return ec2Error("InvalidParameterValue", "Volume throughput of %d MiB/s is not between %d and 2000.", p.throughput, gp3Throughput)
	case p.throughput*4 > p.iops:
		return ec2Error("InvalidParameterValue", "Throughput (MiBps) to iops ratio of %f is too high; maximum is 0.250000 MiBps per iops.", float64(p.throughput)/float64(p.iops))
	}
	return nil
}
