package awssim

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Host is a further machine of the account: an instance with a metadata service
// and devices of its own. Programs that run with its environment see that machine
// and not the server's own.
type Host struct {
	ID string

	server *Server
	roots  roots
	imds   *listener
}

// roots are the folders where an instance's devices appear.
type roots struct{ dev, sys string }

// AddHost adds a running instance on which programs can run. It lives as long as
// the server.
func (s *Server) AddHost(id string) (*Host, error) {
	if err := s.AddInstance(id, s.cfg.Zone); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.cfg.Dir, "hosts", id)
	h := &Host{ID: id, server: s, roots: roots{filepath.Join(dir, "dev"), filepath.Join(dir, "sys")}}
	for _, d := range []string{h.roots.dev, h.roots.sys} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("add host %s: %w", id, err)
		}
	}
	var err error
	h.imds, err = listen(func(w http.ResponseWriter, r *http.Request) { s.serveIMDS(id, w, r) }, s.log)
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", id, err)
	}
	s.ec2.mu.Lock()
	defer s.ec2.mu.Unlock()
	s.ec2.hosts = append(s.ec2.hosts, h)
	return h, nil
}

// Env is the environment that points programs at the server from this host.
func (h *Host) Env() []string {
	own := []string{
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + h.imds.url(),
		"SNAP_TO_S3_DEV_ROOT=" + h.roots.dev,
		"SNAP_TO_S3_SYS_ROOT=" + h.roots.sys,
	}
	env := h.server.Env()
	for i, kv := range env {
		for _, mine := range own {
			if name, _, _ := strings.Cut(mine, "="); strings.HasPrefix(kv, name+"=") {
				env[i] = mine
			}
		}
	}
	return env
}

// rootsOf are those of an instance whose devices are simulated. It is called
// under ec2State.mu.
func (s *Server) rootsOf(instance string) (roots, bool) {
	if instance == s.cfg.InstanceID {
		return roots{s.devRoot(), s.sysRoot()}, true
	}
	for _, h := range s.ec2.hosts {
		if h.ID == instance {
			return h.roots, true
		}
	}
	return roots{}, false
}

func (s *Server) closeHosts() error {
	s.ec2.mu.Lock()
	hosts := s.ec2.hosts
	s.ec2.mu.Unlock()
	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.imds.close())
	}
	return errors.Join(errs...)
}
