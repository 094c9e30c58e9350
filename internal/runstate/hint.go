package runstate

import (
	"encoding/json"
	"fmt"
	"strings"

	"snap-to-s3/internal/hint"
)

// What names the thing of an entry, for a person, in one line.
func (e Entry) What() string {
	f := e.Fields
	switch e.Kind {
	case KindVolume:
		if f["volume"] == "" {
			return "a volume that was perhaps made from " + f["snapshot"]
		}
		return f["volume"] + from(f["snapshot"])
	case KindAttachment:
		return fmt.Sprintf("%s at %s of %s", f["volume"], f["device"], f["instance"])
	case KindUpload:
		object := fmt.Sprintf("s3://%s/%s", f["bucket"], f["key"])
		if f["upload"] == "" {
			return "an upload that was perhaps begun of " + object
		}
		return "upload " + f["upload"] + " of " + object
	case KindClaim:
		return fmt.Sprintf("tag %s of %s", f["tag"], f["snapshot"])
	case KindLoop:
		return fmt.Sprintf("%s over %s", f["loop"], f["backing"])
	case KindMount:
		return fmt.Sprintf("the mount of %s at %s", f["backing"], f["folder"])
	}
	return e.Kind
}

func from(snapshot string) string {
	if snapshot == "" {
		return ""
	}
	return " from " + snapshot
}

// Hint is the shell command that takes the thing away, or finds it where its
// name is not known. It is the one that the run left or, where the run was
// killed before it could leave one, what the entry's fields lead to; "" where
// they lead nowhere. The AWS command line and util-linux do all of it without this
// program.
func (e Entry) Hint() string {
	if e.Command != "" {
		return e.Command
	}
	switch e.Kind {
	case KindVolume:
		return e.volumeHint()
	case KindAttachment:
		if e.Fields["volume"] == "" {
			return ""
		}
		return e.aws("ec2 detach-volume", "--volume-id", e.Fields["volume"])
	case KindUpload:
		return e.uploadHint()
	case KindClaim:
		return e.claimHint()
	case KindLoop:
		return e.loopHint()
	case KindMount:
		if e.Fields["folder"] == "" {
			return ""
		}
		return "umount " + hint.Quote(e.Fields["folder"])
	}
	return ""
}

// loopHint: the entry was written before the loop device was taken, so that it
// may be another's by now. Only one over what we meant is detached.
func (e Entry) loopHint() string {
	loop, backing := e.Fields["loop"], e.Fields["backing"]
	if loop == "" || backing == "" {
		return ""
	}
	return "losetup -j " + hint.Quote(backing) + " | grep " + hint.Quote("^"+loop+":") + " && losetup -d " + hint.Quote(loop)
}

// volumeHint: whether the volume is attached nobody has noted. Detaching one that
// is not is an error without effect, hence the semicolon.
func (e Entry) volumeHint() string {
	id, tag := e.Fields["volume"], e.Fields["tag"]
	switch {
	case id != "":
		return e.aws("ec2 detach-volume", "--volume-id", id) + "; " +
			e.aws("ec2 wait volume-available", "--volume-ids", id) + " && " +
			e.aws("ec2 delete-volume", "--volume-id", id)
	case tag != "" && e.Fields["snapshot"] != "":
		// By the tag's name: its value is renewed, and so another by now.
		return e.aws("ec2 describe-volumes", "--filters",
			"Name=snapshot-id,Values="+e.Fields["snapshot"], "Name=tag-key,Values="+tag+"-owner")
	}
	return ""
}

func (e Entry) uploadHint() string {
	f := e.Fields
	if f["bucket"] == "" || f["key"] == "" {
		return ""
	}
	if f["upload"] == "" {
		return e.aws("s3api list-multipart-uploads", "--bucket", f["bucket"], "--prefix", f["key"])
	}
	return e.aws("s3api abort-multipart-upload", "--bucket", f["bucket"], "--key", f["key"], "--upload-id", f["upload"])
}

// claimHint gives the tag its value of before, and only then takes our tags off,
// so that no moment leaves the snapshot without an owner and still "migrating".
func (e Entry) claimHint() string {
	id, tag := e.Fields["snapshot"], e.Fields["tag"]
	if id == "" || tag == "" {
		return ""
	}
	ours := []string{"--resources", id, "--tags", "Key=" + tag + "-id", "Key=" + tag + "-owner"}
	before := e.Fields["before"]
	if before == "" { // named by id, without a tag
		return e.aws("ec2 delete-tags", append(ours, "Key="+tag)...)
	}
	return e.aws("ec2 create-tags", "--resources", id, "--tags", tagShorthand(tag, before)) + " && " +
		e.aws("ec2 delete-tags", ours...)
}

// tagShorthand is a tag as the AWS command line takes it; JSON where the
// shorthand would take a value apart (AWS CLI user guide, "Shorthand syntax").
func tagShorthand(key, value string) string {
	if strings.ContainsAny(key+value, `,='"[]{} \`) {
		tag, err := json.Marshal(map[string]string{"Key": key, "Value": value})
		if err == nil { // strings can always be told in JSON
			return string(tag)
		}
	}
	return "Key=" + key + ",Value=" + value
}

// aws is a command line of AWS's own program, for the region and the store where
// the thing is.
func (e Entry) aws(command string, args ...string) string {
	words := []string{"aws", command}
	for _, a := range args {
		words = append(words, hint.Quote(a))
	}
	if endpoint := e.Fields["endpoint"]; endpoint != "" && e.Kind == KindUpload {
		words = append(words, "--endpoint-url", hint.Quote(endpoint))
	}
	if region := e.Fields["region"]; region != "" {
		words = append(words, "--region", hint.Quote(region))
	}
	return strings.Join(words, " ")
}
