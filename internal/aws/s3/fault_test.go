package s3_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"snap-to-s3/internal/aws"
	"snap-to-s3/internal/aws/s3"
	"snap-to-s3/internal/awssim"
	"snap-to-s3/internal/objstore"
)

func ours() objstore.CreateOptions {
	return objstore.CreateOptions{Streams: 2, Metadata: map[string]string{"snap-to-s3-run": "run-1"}}
}

// wantObject fails unless the bucket has the object, of this size, written by us.
func (b *sandbox) wantObject(t *testing.T, key string, size int) {
	t.Helper()
	o, ok := b.sim.Object(bucket, key)
	if !ok || o.Size != int64(size) || o.Metadata["snap-to-s3-run"] != "run-1" {
		t.Errorf("object %s: %v, %+v; want %d bytes of ours", key, ok, o, size)
	}
}

// A fault that passes is not seen, whether the call had its effect or not.
func TestPassingFaults(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.store = b.open(bucket, aws.Options{Stall: time.Second}, s3.Options{Conditions: s3.ConditionsHonoured})
	const small, large = 100, 3 * simPart
	for _, c := range []struct {
		name   string
		action string
		size   int
		fault  awssim.Fault
	}{
		{"put cut before", "PutObject", small, awssim.Fault{CutBefore: true}},
		{"put answer lost", "PutObject", small, awssim.Fault{LoseAnswer: true}},
		{"put done but 500", "PutObject", small, awssim.Fault{After: &awssim.Error{Status: 500, Code: "InternalError"}}},
		{"put done but silent", "PutObject", small, awssim.Fault{HangAfter: true}},
		{"put throttled", "PutObject", small, awssim.Fault{Throttle: true}},
		{"put in conflict", "PutObject", small, awssim.Fault{Before: &awssim.Error{Status: 409, Code: "ConditionalRequestConflict"}}},
		{"put damaged on the way", "PutObject", small, awssim.Fault{Before: &awssim.Error{Status: 400, Code: "BadDigest"}}},
		{"part cut before", "UploadPart", large, awssim.Fault{CutBefore: true}},
		{"part answer lost", "UploadPart", large, awssim.Fault{LoseAnswer: true}},
		{"part damaged on the way", "UploadPart", large, awssim.Fault{Before: &awssim.Error{Status: 400, Code: "BadDigest"}}},
		{"part silent", "UploadPart", large, awssim.Fault{Hang: true}},
		{"complete cut before", "CompleteMultipartUpload", large, awssim.Fault{CutBefore: true}},
		{"complete answer lost", "CompleteMultipartUpload", large, awssim.Fault{LoseAnswer: true}},
		{"complete done but 500", "CompleteMultipartUpload", large, awssim.Fault{After: &awssim.Error{Status: 500, Code: "InternalError"}}},
		{"complete failed under 200", "CompleteMultipartUpload", large, awssim.Fault{Before: &awssim.Error{Status: 200, Code: "InternalError"}}},
		{"complete done but error under 200", "CompleteMultipartUpload", large, awssim.Fault{After: &awssim.Error{Status: 200, Code: "InternalError"}}},
		{"begin cut before", "CreateMultipartUpload", large, awssim.Fault{CutBefore: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.sim.SetFault(awssim.Times(1, awssim.Action(c.action), c.fault))
			info, err := tryPut(t, b.store, c.name, make([]byte, c.size), ours())
			b.sim.SetFault(nil)
			if err != nil || info.Size != int64(c.size) || info.ETag == "" || info.CRC64NVME == "" {
				t.Fatalf("put: %+v, %v", info, err)
			}
			b.wantObject(t, c.name, c.size)
			if left := b.sim.Uploads(bucket); len(left) != 0 {
				t.Errorf("uploads left: %+v", left)
			}
		})
	}
}

// The one thing that a lost answer can leave: an upload whose id nobody knows.
func TestBeginAnswerLost(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.SetFault(awssim.Times(1, awssim.Action("CreateMultipartUpload"), awssim.Fault{LoseAnswer: true}))
	if _, err := tryPut(t, b.store, "k", make([]byte, 3*simPart), ours()); err != nil {
		t.Fatal(err)
	}
	b.wantObject(t, "k", 3*simPart)
	if left := b.sim.Uploads(bucket); len(left) != 1 || left[0].Parts != 0 {
		t.Errorf("uploads left: %+v; want one without parts", left)
	}
	b.removeUploads()
}

// What does not pass is an error in the end, that says what is known, and
// nothing stays.
func TestLastingFaults(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	const small, large = 100, 3 * simPart
	conflict := awssim.Fault{Before: &awssim.Error{Status: 409, Code: "ConditionalRequestConflict"}}
	gone := awssim.Fault{Before: &awssim.Error{Status: 404, Code: "NoSuchUpload"}}
	broken := awssim.Fault{Before: &awssim.Error{Status: 500, Code: "InternalError"}}
	for _, c := range []struct {
		name, action string
		size         int
		fault        awssim.Fault
		text, next   string
	}{
		{"put broken", "PutObject", small, broken, "store put broken in bucket archive: InternalError", "health.aws.amazon.com"},
		{"put cut", "PutObject", small, awssim.Fault{CutBefore: true}, "store put cut in bucket archive: ", ""},
		{"part broken", "UploadPart", large, broken, "upload part ", "health.aws.amazon.com"},
		{"part cut", "UploadPart", large, awssim.Fault{CutBefore: true}, "upload part ", ""},
		{"part throttled", "UploadPart", large, awssim.Fault{Throttle: true}, "AWS throttles, 2 times in a row", "--upload-streams"},
		{"upload gone", "UploadPart", large, gone, "is gone", "AbortIncompleteMultipartUpload"},
		{"complete broken", "CompleteMultipartUpload", large, broken, "complete the upload of complete broken in bucket archive: InternalError", "health.aws.amazon.com"},
		{"complete gone", "CompleteMultipartUpload", large, gone, "is gone", "AbortIncompleteMultipartUpload"},
		{"complete in conflict", "CompleteMultipartUpload", large, conflict, "somebody else is writing this object", "what else writes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b.sim.SetFault(awssim.Times(1000, awssim.Action(c.action), c.fault))
			_, err := tryPut(t, b.store, c.name, make([]byte, c.size), ours())
			b.sim.SetFault(nil)
			wantError(t, err, c.text, c.next)
			if _, there := b.sim.Object(bucket, c.name); there {
				t.Error("the object is there all the same")
			}
			if left := b.sim.Uploads(bucket); len(left) != 0 {
				t.Errorf("uploads left: %+v", left)
			}
		})
	}
}

// Neither the write nor the question has an answer: then that is what is said.
func TestOutcomeUnknown(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "2")
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	b.sim.SetFault(func(c awssim.Call) awssim.Fault {
		switch c.Action {
		case "CompleteMultipartUpload":
			return awssim.Fault{LoseAnswer: true}
		case "HeadObject":
			return awssim.Fault{Before: &awssim.Error{Status: 503, Code: "ServiceUnavailable"}}
		}
		return awssim.Fault{}
	})
	w, err := b.store.Create(t.Context(), "k", ours())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2*simPart)); err != nil {
		t.Fatal(err)
	}
	_, err = w.Commit(t.Context())
	wantError(t, err, "whether the object is there could not be found out: ", "aws s3api head-object --bucket archive --key k")
	if err := w.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
}

// A write that lost to another one in the time of a lost answer is not ours,
// although the size is the same.
func TestLostAnswerAndAnotherWriter(t *testing.T) {
	for _, size := range []int{100, 3 * simPart} {
		b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
		other := b.open(bucket, aws.Options{}, s3.Options{Conditions: s3.ConditionsHonoured})
		var once atomic.Bool
		b.sim.SetFault(func(c awssim.Call) awssim.Fault {
			if c.Action != "PutObject" && c.Action != "CompleteMultipartUpload" || once.Swap(true) {
				return awssim.Fault{}
			}
			put(t, other, "k", make([]byte, size), objstore.CreateOptions{Metadata: map[string]string{"snap-to-s3-run": "run-2"}})
			return awssim.Fault{CutBefore: true}
		})
		if _, err := tryPut(t, b.store, "k", make([]byte, size), ours()); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("%d bytes: %v, want ErrExists", size, err)
		}
		if o, _ := b.sim.Object(bucket, "k"); o.Metadata["snap-to-s3-run"] != "run-2" {
			t.Errorf("%d bytes: the object is of run %s", size, o.Metadata["snap-to-s3-run"])
		}
	}
}

// A commit that is cancelled still finds out what became of it.
func TestCancelledCommit(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   awssim.Fault
		visible bool
	}{
		{"with effect", awssim.Fault{HangAfter: true}, true},
		{"without effect", awssim.Fault{Hang: true}, false},
	} {
		for action, size := range map[string]int{"PutObject": 100, "CompleteMultipartUpload": 3 * simPart} {
			t.Run(c.name+" "+action, func(t *testing.T) {
				b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
				ctx, cancel := context.WithCancel(t.Context())
				b.sim.SetFault(func(call awssim.Call) awssim.Fault {
					if call.Action != action {
						return awssim.Fault{}
					}
					time.AfterFunc(50*time.Millisecond, cancel) // the effect comes first
					return c.fault
				})
				w, err := b.store.Create(t.Context(), "k", ours())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(make([]byte, size)); err != nil {
					t.Fatal(err)
				}
				_, err = w.Commit(ctx)
				b.sim.SetFault(nil)
				if (err == nil) != c.visible || err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("commit: %v; the object is there: %v", err, c.visible)
				}
				if err != nil {
					if err := w.Abort(t.Context()); err != nil {
						t.Errorf("abort: %v", err)
					}
				}
				if _, there := b.sim.Object(bucket, "k"); there != c.visible {
					t.Errorf("the object is there: %v, want %v", there, c.visible)
				}
			})
		}
	}
}

// Who finds an object in the way is told how to look at it and how to go on.
func TestAnObjectInTheWayHasANextStep(t *testing.T) {
	for _, known := range []s3.Conditions{s3.ConditionsHonoured, s3.ConditionsIgnored} {
		b := start(t, awssim.Config{}, s3.Options{Conditions: known})
		look := "aws s3api head-object --bucket archive --key k --endpoint-url " + b.sim.Endpoint() + " --region us-east-1"
		for _, size := range []int{100, 3 * simPart} {
			o := ours()
			o.IfMatch = `"gone"`
			_, err := tryPut(t, b.store, "k", make([]byte, size), o)
			wantError(t, err, "in bucket archive: the object to be replaced is gone", "run the command again")
		}
		put(t, b.store, "k", []byte("x"), ours())
		for _, size := range []int{100, 3 * simPart} {
			_, err := tryPut(t, b.store, "k", make([]byte, size), ours())
			wantError(t, err, "in bucket archive: an object is already there",
				"another run may have written it; look at it ("+look+"), and run again with --overwrite to replace it")
			o := ours()
			o.IfMatch = `"other"`
			_, err = tryPut(t, b.store, "k", make([]byte, size), o)
			wantError(t, err, "in bucket archive: an object is already there, and not the one that was to be replaced",
				"look at it ("+look+"), and run the command again")
		}
	}
}

// An interrupt while two writers are told to wait is no fault of the other one.
func TestInterruptedWhileInConflict(t *testing.T) {
	b := start(t, awssim.Config{}, s3.Options{Conditions: s3.ConditionsHonoured})
	interrupted := errors.New("interrupted by SIGTERM")
	ctx, cancel := context.WithCancelCause(t.Context())
	b.sim.SetFault(func(c awssim.Call) awssim.Fault {
		if c.Action != "PutObject" {
			return awssim.Fault{}
		}
		time.AfterFunc(50*time.Millisecond, func() { cancel(interrupted) }) // the wait is longer
		return awssim.Fault{Before: &awssim.Error{Status: 409, Code: "ConditionalRequestConflict"}}
	})
	w, err := b.store.Create(t.Context(), "k", ours())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Commit(ctx)
	wantError(t, err, "store k in bucket archive: interrupted by SIGTERM", "")
	if !errors.Is(err, interrupted) {
		t.Errorf("commit: %v, want the cause of its context", err)
	}
	if err := w.Abort(t.Context()); err != nil {
		t.Errorf("abort: %v", err)
	}
}
