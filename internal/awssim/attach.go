package awssim

import (
	"fmt"
	"time"
)

// The states of an attachment (EC2 API reference, VolumeAttachment).
const (
	attAttaching = "attaching"
	attAttached  = "attached"
	attDetaching = "detaching"
)

// attachment is a volume's place at an instance.
type attachment struct {
	instance string
	device   string     // as it was asked for
	name     deviceName // what that means
	state    string
	at       time.Time
	change   wait // until attaching or detaching is over
	force    bool
	node     *deviceNode // nil: no device (yet, or any more)
}

func (s *Server) attachVolume(c *call) (any, *apiError) {
	if e := required(c.form, "VolumeId", "InstanceId", "Device"); e != nil {
		return nil, e
	}
	v, e := s.findVolume(c.form.Get("VolumeId"))
	if e != nil {
		return nil, e
	}
	r := attachRequest{instance: c.form.Get("InstanceId"), device: c.form.Get("Device"), at: c.now}
	if e := s.attach(v, r); e != nil {
		return nil, e
	}
	return v.attachmentXML(), nil
}

type attachRequest struct {
	instance, device string
	at               time.Time
}

// attach checks what EC2 checks, and begins to attach.
func (s *Server) attach(v *volume, r attachRequest) *apiError {
	name, e := s.checkAttach(v, r)
	if e != nil {
		return e
	}
	a := &attachment{
		instance: r.instance, device: r.device, name: name, at: r.at,
		state: attAttaching, change: newWait(s.ec2.conf.Attaching),
	}
	v.attached, v.state = a, volInUse
	if _, simulated := s.rootsOf(r.instance); !simulated {
		return nil // the device appears elsewhere
	}
	fault := s.ec2.fault(v)
	if fault.NoDevice || fault.Stuck == attAttaching {
		return nil
	}
	if delay := max(s.ec2.conf.DeviceDelay, fault.DeviceDelay); delay > 0 {
		s.plugLater(v, delay)
		return nil
	}
	if err := s.plug(v); err != nil {
		v.attached, v.state = nil, volAvailable
		s.log.Error("device cannot be made", "volume", v.id, "err", err)
		return &apiError{Status: 500, Code: "InternalError", Message: fmt.Sprintf("The device of %s cannot be made: %v", v.id, err)}
	}
	return nil
}

func (s *Server) checkAttach(v *volume, r attachRequest) (deviceName, *apiError) {
	i, e := s.findInstance(r.instance)
	if e != nil {
		return deviceName{}, e
	}
	name, ok := parseDeviceName(r.device)
	switch {
	case !ok:
		return name, ec2Error("InvalidParameterValue", "Value (%s) for parameter device is invalid. %s is not a valid EBS device name.", r.device, r.device)
	case v.attached != nil:
		return name, ec2Error("VolumeInUse", "%s is already attached to an instance", v.id)
	case v.state != volAvailable:
		return name, ec2Error("IncorrectState", "%s is not 'available'.", v.id)
	case v.zone != i.zone:
		return name, ec2Error("InvalidVolume.ZoneMismatch", "The volume '%s' is not in the same availability zone as instance '%s'", v.id, i.id)
	}
	taken := name.letters == "a" // the root volume's on every instance
	others := 0
	for _, o := range s.ec2.volumes {
		if o.attached == nil || o.attached.instance != i.id || o.root {
			continue
		}
		others++
		taken = taken || o.attached.name == name
	}
	if taken {
		return name, ec2Error("InvalidParameterValue", "Invalid value '%s' for unixDevice. Attachment point %s is already in use", r.device, r.device)
	}
	if limit := s.ec2.conf.MaxAttachments; limit > 0 && others >= limit {
		return name, ec2Error("AttachmentLimitExceeded", "Instance %s already has %d volumes attached; its limit is reached.", i.id, others)
	}
	return name, nil
}

// detachVolume begins to detach. A device that somebody holds is not let go
// until they do, or by force, as a mounted volume is not at EC2.
func (s *Server) detachVolume(c *call) (any, *apiError) {
	if e := required(c.form, "VolumeId"); e != nil {
		return nil, e
	}
	v, e := s.findVolume(c.form.Get("VolumeId"))
	if e != nil {
		return nil, e
	}
	force, e := formBool(c.form, "Force")
	if e != nil {
		return nil, e
	}
	instance, device := c.form.Get("InstanceId"), c.form.Get("Device")
	a := v.attached
	switch {
	case instance != "" && s.ec2.byID[instance] == nil:
		return nil, ec2Error("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", instance)
	case a == nil:
		return nil, ec2Error("IncorrectState", "Volume '%s' is in the '%s' state.", v.id, v.state)
	case instance != "" && instance != a.instance, device != "" && device != a.device:
		return nil, ec2Error("InvalidAttachment.NotFound", "The volume '%s' is not attached to instance '%s' as device '%s'.", v.id, instance, device)
	case v.root:
		return nil, ec2Error("OperationNotPermitted", "Unable to detach root volume '%s' from instance '%s'", v.id, a.instance)
	case a.state == attAttaching && !force:
		return nil, ec2Error("IncorrectState", "Volume '%s' is in the '%s' state.", v.id, a.state)
	}
	a.force = a.force || force
	if a.state != attDetaching {
		a.state, a.change = attDetaching, newWait(s.ec2.conf.Detaching)
		v.stopTimer(&s.ec2)
	}
	answer := v.attachmentXML()
	s.settle(v)
	return answer, nil
}

// settleAttachment moves an attachment on if its time has come.
func (s *Server) settleAttachment(v *volume, fault VolumeFault) {
	a := v.attached
	switch a.state {
	case attAttaching:
		if a.change.over() && fault.Stuck != attAttaching {
			a.state = attAttached
		}
	case attDetaching:
		if fault.Stuck == attDetaching && !a.force {
			return
		}
		if !s.unplug(v) || !a.change.over() {
			return
		}
		v.attached, v.state = nil, volAvailable
	}
}

// plugLater makes the device appear after a while, if it is still wanted then.
func (s *Server) plugLater(v *volume, delay time.Duration) {
	e, a := &s.ec2, v.attached
	e.work.Add(1)
	v.timer = time.AfterFunc(delay, func() {
		defer e.work.Done()
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closed || v.attached != a || a.state == attDetaching {
			return
		}
		if err := s.plug(v); err != nil {
			e.broken = append(e.broken, fmt.Sprintf("the device of volume %s cannot be made: %v", v.id, err))
		}
	})
}

func (v *volume) stopTimer(e *ec2State) {
	if v.timer != nil && v.timer.Stop() {
		e.work.Done()
	}
	v.timer = nil
}
