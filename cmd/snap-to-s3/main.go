// Command snap-to-s3 moves EBS snapshots to S3. See internal/cli.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"snap-to-s3/internal/cli"
)

// heapSlack is by how much the heap may grow over what is in use before it is
// collected, in percent. Nearly all of it are a few dozen large buffers without
// pointers: to collect often costs little, and halves the memory that is taken.
const heapSlack = 25

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapSlack)
	}
	ctx, stop := cli.WithSignals(context.Background())
	code := cli.Main(ctx, cli.TakeArgs(), cli.Env{})
	stop()
	os.Exit(code)
}
