// Command snap-to-s3 moves EBS snapshots to S3. See internal/cli.
package main

import (
	"context"
	"os"

	"snap-to-s3/internal/cli"
)

func main() {
	ctx, stop := cli.WithSignals(context.Background())
	code := cli.Main(ctx, cli.TakeArgs(), cli.Env{})
	stop()
	os.Exit(code)
}
