package runstate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A run that was killed has left no command: it follows from what it noted.
func TestHintOfAnEntry(t *testing.T) {
	const vol, snap = "vol-0123456789abcdef0", "snap-0123456789abcdef0"
	type told struct{ What, Hint string }
	for name, c := range map[string]struct {
		entry Entry
		want  told
	}{
		"what the run has left counts": {
			Entry{Kind: KindVolume, Fields: map[string]string{"volume": vol}, Command: "aws ec2 delete-volume"},
			told{vol, "aws ec2 delete-volume"},
		},
		"volume": {
			Entry{Kind: KindVolume, Fields: map[string]string{"volume": vol, "snapshot": snap, "region": "eu-west-1", "token": "T"}},
			told{
				vol + " from " + snap,
				"aws ec2 detach-volume --volume-id " + vol + " --region eu-west-1; aws ec2 wait volume-available --volume-ids " + vol +
					" --region eu-west-1 && aws ec2 delete-volume --volume-id " + vol + " --region eu-west-1",
			},
		},
		"volume that was being made": {
			Entry{Kind: KindVolume, Fields: map[string]string{"snapshot": snap, "region": "eu-west-1", "token": "T", "tag": "my tag"}},
			told{
				"a volume that was perhaps made from " + snap,
				"aws ec2 describe-volumes --filters Name=snapshot-id,Values=" + snap + " 'Name=tag-key,Values=my tag-owner' --region eu-west-1",
			},
		},
		"attachment": {
			Entry{Kind: KindAttachment, Fields: map[string]string{"volume": vol, "instance": "i-1", "device": "/dev/sdf", "region": "eu-west-1"}},
			told{vol + " at /dev/sdf of i-1", "aws ec2 detach-volume --volume-id " + vol + " --region eu-west-1"},
		},
		"upload": {
			Entry{Kind: KindUpload, Fields: map[string]string{"bucket": "b", "key": "vol-1/2026 it's.img.zstd", "upload": "u_1", "endpoint": "http://[::1]:9000", "region": "r"}},
			told{
				"upload u_1 of s3://b/vol-1/2026 it's.img.zstd",
				`aws s3api abort-multipart-upload --bucket b --key 'vol-1/2026 it'\''s.img.zstd' --upload-id u_1 --endpoint-url 'http://[::1]:9000' --region r`,
			},
		},
		"upload that was being begun": {
			Entry{Kind: KindUpload, Fields: map[string]string{"bucket": "b", "key": "vol-1/a b"}},
			told{"an upload that was perhaps begun of s3://b/vol-1/a b", "aws s3api list-multipart-uploads --bucket b --prefix 'vol-1/a b'"},
		},
		"claim": {
			Entry{Kind: KindClaim, Fields: map[string]string{"snapshot": snap, "tag": "t", "before": "migrate"}},
			told{
				"tag t of " + snap,
				"aws ec2 create-tags --resources " + snap + " --tags Key=t,Value=migrate && aws ec2 delete-tags --resources " + snap + " --tags Key=t-id Key=t-owner",
			},
		},
		"claim of one without a tag": {
			Entry{Kind: KindClaim, Fields: map[string]string{"snapshot": snap, "tag": "t", "before": ""}},
			told{"tag t of " + snap, "aws ec2 delete-tags --resources " + snap + " --tags Key=t-id Key=t-owner Key=t"},
		},
		"claim of one with an odd tag": {
			Entry{Kind: KindClaim, Fields: map[string]string{"snapshot": snap, "tag": "t", "before": `a,"b'`}},
			told{
				"tag t of " + snap,
				`aws ec2 create-tags --resources ` + snap + ` --tags '{"Key":"t","Value":"a,\"b'\''"}' && aws ec2 delete-tags --resources ` + snap + " --tags Key=t-id Key=t-owner",
			},
		},
		"nothing known": {Entry{Kind: KindVolume}, told{"a volume that was perhaps made from ", ""}},
		"loop": {
			Entry{Kind: KindLoop, Fields: map[string]string{"loop": "/dev/loop3", "backing": "/dev/nvme1n1"}},
			told{"/dev/loop3 over /dev/nvme1n1", "losetup -j /dev/nvme1n1 | grep '^/dev/loop3:' && losetup -d /dev/loop3"},
		},
		"mount": {
			Entry{Kind: KindMount, Fields: map[string]string{"folder": "/mnt/my " + snap, "backing": "/dev/nvme1n1", "loop": "/dev/loop3"}},
			told{"the mount of /dev/nvme1n1 at /mnt/my " + snap, "umount '/mnt/my " + snap + "'"},
		},
		"mount of what":  {Entry{Kind: KindMount, Fields: map[string]string{"backing": "/dev/sdf"}}, told{"the mount of /dev/sdf at ", ""}},
		"loop over what": {Entry{Kind: KindLoop, Fields: map[string]string{"loop": "/dev/loop3"}}, told{"/dev/loop3 over ", ""}},
		"a later kind":   {Entry{Kind: "array", Fields: map[string]string{"path": "/dev/md0"}}, told{"array", ""}},
		"upload of what": {Entry{Kind: KindUpload, Fields: map[string]string{"bucket": "b"}}, told{"an upload that was perhaps begun of s3://b/", ""}},
		"claim of what":  {Entry{Kind: KindClaim, Fields: map[string]string{"tag": "t"}}, told{"tag t of ", ""}},
	} {
		if diff := cmp.Diff(c.want, told{c.entry.What(), c.entry.Hint()}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
