package cli

import (
	"fmt"
	"strings"

	"snap-to-s3/internal/cost"
)

// costLines is an estimate for a person: what it costs once, what it costs a
// month beside what the snapshots cost now, and what it leaves out.
func costLines(e cost.Estimate) []string {
	lines := []string{
		fmt.Sprintf("at most %s to S3 (%s of archives among them), volumes for %.2f hours",
			plural(e.RequestCount, "request"), plural(e.Parts, "part"), e.VolumeHours()),
		fmt.Sprintf("once: %s (volumes %s, requests %s, transfer %s)", e.OneTime(), e.Volume, e.Requests, e.Transfer),
		fmt.Sprintf("a month: at most %s, %s if it compresses to half; as EBS snapshots at most %s", e.Storage, e.StorageHalf, e.Snapshot),
	}
	if e.MinimumDays > 0 {
		lines = append(lines, fmt.Sprintf("this class bills %d days at least: at most %s", e.MinimumDays, e.Minimum))
	}
	if unknown := e.Unknown(); len(unknown) > 0 {
		lines = append(lines, "not in these sums, for want of a price: "+strings.Join(unknown, ", "))
	}
	return append(lines, "list prices of "+cost.Dated+"; the archive's size is an upper bound")
}

// jsonCost is an estimate for a program; amounts are US dollars.
type jsonCost struct {
	OneTime      cost.Money `json:"one_time"`
	Volumes      cost.Money `json:"volumes"`
	Requests     cost.Money `json:"requests"`
	Transfer     cost.Money `json:"transfer"`
	VolumeHours  float64    `json:"volume_hours"`
	RequestCount int64      `json:"request_count"`
	Parts        int64      `json:"parts"`
	Monthly      cost.Money `json:"monthly_at_most"`
	MonthlyHalf  cost.Money `json:"monthly_at_half_size"`
	EBSMonthly   cost.Money `json:"ebs_monthly_at_most"`
	MinimumDays  int        `json:"minimum_days"`
	UnknownPrice []string   `json:"unknown_prices,omitempty"`
	PricesDated  string     `json:"prices_dated"`
}

func costOf(e cost.Estimate) jsonCost {
	return jsonCost{
		e.OneTime(), e.Volume, e.Requests, e.Transfer, e.VolumeHours(), e.RequestCount, e.Parts, e.Storage, e.StorageHalf, e.Snapshot,
		e.MinimumDays, e.Unknown(), cost.Dated,
	}
}
